//! The configurations of `examples/providers`, to start from.

/// A configuration of `examples/providers`.
#[derive(Debug)]
pub struct Example {
    /// The name of the kind, the preset or the service.
    pub name: &'static str,
    /// The file, whose first lines name what to fill in.
    pub text: &'static str,
}

/// The examples of these names, from their files.
macro_rules! examples {
    ($($name:literal),* $(,)?) => {
        &[$(Example {
            name: $name,
            text: include_str!(concat!("../../examples/providers/", $name, ".toml")),
        }),*]
    };
}

/// All examples, by name.
pub const EXAMPLES: &[Example] = examples![
    "100ms",
    "agora",
    "azure-speech",
    "centrifugo",
    "cloudflare-stream",
    "cloudflare-turn",
    "daily",
    "deepgram",
    "feishu",
    "forward",
    "github-app",
    "google",
    "hume",
    "ivs-playback",
    "ivs-stage",
    "jaas",
    "jwt",
    "livekit",
    "mux",
    "oauth2",
    "twilio-access",
    "twilio-live",
    "twilio-nts",
    "vonage-video",
    "wechat",
    "zoom-videosdk",
];

impl Example {
    /// What it is: the first sentence of its first comment.
    #[must_use]
    pub fn title(&self) -> &'static str {
        let line = self.text.lines().next().unwrap_or_default();
        let title = line.trim_start_matches("# ");
        title.split("; see").next().unwrap_or(title)
    }
}
