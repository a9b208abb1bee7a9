//! What the libraries tell as they go, on stderr.

use clap::{Args, ValueEnum};
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{fmt, registry};

#[derive(Args)]
#[command(next_help_heading = "Logs")]
pub struct Logging {
    /// How logs are written, on stderr
    #[arg(long, global = true, value_enum, default_value_t, value_name = "FORMAT")]
    log_format: Format,
    /// How much is logged
    #[arg(long, global = true, value_enum, default_value_t, value_name = "LEVEL")]
    log_level: Level,
}

#[derive(Clone, Copy, Default, ValueEnum)]
enum Format {
    #[default]
    Text,
    Json,
}

#[derive(Clone, Copy, Default, ValueEnum)]
enum Level {
    #[default]
    Off,
    Error,
    Warn,
    Info,
    Debug,
}

impl Logging {
    pub fn start(&self) {
        // Only what is our own: it says no secret, and others may.
        let ours = Targets::new().with_target("ibkr_oauth", LevelFilter::from(self.log_level));
        let layer = fmt::layer().with_writer(std::io::stderr).with_ansi(false);
        match self.log_format {
            Format::Text => registry().with(layer.with_filter(ours)).init(),
            Format::Json => registry().with(layer.json().with_filter(ours)).init(),
        }
    }
}

impl From<Level> for LevelFilter {
    fn from(level: Level) -> Self {
        match level {
            Level::Off => Self::OFF,
            Level::Error => Self::ERROR,
            Level::Warn => Self::WARN,
            Level::Info => Self::INFO,
            Level::Debug => Self::DEBUG,
        }
    }
}
