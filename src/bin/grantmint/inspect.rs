//! stub
use std::process::ExitCode;
#[derive(Debug, clap::Args)]
pub(crate) struct InspectCommand {}
impl InspectCommand {
    pub(crate) fn run(self) -> ExitCode {
        ExitCode::SUCCESS
    }
}
