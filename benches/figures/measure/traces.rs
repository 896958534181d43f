//! The cost of recording one call in a hundred.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use anyhow::{Result, ensure};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
    trace_service_server::{TraceService, TraceServiceServer},
};
use tokio::net::TcpListener;
use tonic::{
    Request, Response, Status,
    transport::{Server, server::TcpIncoming},
};

use super::{Programs, Size, calls::Calls};
use crate::{
    process::Cores,
    report::{Goal, Report, ratios},
};

/// Counts spans and drops them.
#[derive(Clone, Default)]
struct Collector(Arc<AtomicUsize>);

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let resources = request.get_ref().resource_spans.iter();
        let spans = resources.flat_map(|it| &it.scope_spans).map(|it| it.spans.len()).sum();
        self.0.fetch_add(spans, Ordering::Relaxed);
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

pub(super) async fn run(
    programs: &Programs,
    cores: &Cores,
    size: Size,
    report: &mut Report,
) -> Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let endpoint = format!("http://{}", listener.local_addr()?);
    let collector = Collector::default();
    let service = TraceServiceServer::new(collector.clone());
    let serving = tokio::spawn(
        Server::builder().add_service(service).serve_with_incoming(TcpIncoming::from(listener)),
    );
    let telemetry = format!("[telemetry]\notlp_endpoint = \"{endpoint}\"\nsample = 0.01\n");
    let off = programs.serve_demo("", cores)?;
    let on = programs.serve_demo(&telemetry, cores)?;
    let (mut off_calls, mut on_calls) = (Calls::default(), Calls::default());
    for _ in 0..size.rounds {
        off_calls.measure(&off, size.unary).await?;
        on_calls.measure(&on, size.unary).await?;
    }
    serving.abort();
    ensure!(collector.0.load(Ordering::Relaxed) > 0, "the collector received no span");
    off_calls.report("untraced", report);
    on_calls.report("traced", report);
    let ratios = ratios(&on_calls.rate, &off_calls.rate);
    report.figure("traces_calls_vs_none", Goal::AtLeast(0.97), &ratios);
    Ok(())
}
