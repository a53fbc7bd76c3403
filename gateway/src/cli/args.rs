//! The command line.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use daybook_schemas::{Currency, Timestamp, Token, VariantId};

/// Event-sourced commerce: catalogue, stock and orders on one log, with read models that can be proved equal to it.
#[derive(Debug, Parser)]
#[command(name = "daybook", version, arg_required_else_help = true, propagate_version = true)]
pub(super) struct Cli {
    #[command(flatten)]
    pub(super) global: Global,
    #[command(subcommand)]
    pub(super) command: Command,
}

/// Options of every command.
#[derive(Debug, Clone, Args)]
pub(super) struct Global {
    /// Data folder [default: ./daybook-data; environment: DAYBOOK_DATA]
    #[arg(long, global = true, value_name = "DIR")]
    pub(super) data: Option<PathBuf>,
    /// Configuration file [default: ./daybook.toml, if there; environment: DAYBOOK_CONFIG]
    #[arg(long, global = true, value_name = "FILE")]
    pub(super) config: Option<PathBuf>,
    /// Form of the output
    #[arg(long, global = true, value_enum, default_value_t = Format::Text)]
    pub(super) format: Format,
    /// Work on a running server instead of a data folder at rest
    #[arg(long, global = true, value_name = "URL")]
    pub(super) server: Option<String>,
    /// API key for --server
    #[arg(long, global = true, value_name = "KEY", env = "DAYBOOK_API_KEY", hide_env_values = true)]
    pub(super) api_key: Option<String>,
}

/// Form of the output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// For people
    Text,
    /// One JSON object, or one a line
    Json,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Serve commands and queries over HTTP
    Serve(Serve),
    /// Import the bundled sample, project it, and serve
    Demo(Serve),
    /// Bring a foreign history in through the command path
    #[command(subcommand)]
    Import(Import),
    /// Write out what `import` takes
    #[command(subcommand)]
    Export(Export),
    /// Make up data for load tests
    #[command(subcommand)]
    Generate(Generate),
    /// Look at the event log
    #[command(subcommand)]
    Log(Log),
    /// Print an aggregate's state, now or as of a time or revision
    State(State),
    /// Print the price that a buyer gets of a variant, now or as of a time
    Price(Price),
    /// Look after the read models
    #[command(subcommand)]
    Projections(Projections),
    /// Compare read models with a replay of the log, row by row
    Reconcile(Reconcile),
    /// Check the whole log: checksums, order, schemas, configuration hashes
    Verify,
    /// Play a failure scenario against a server
    #[command(subcommand)]
    Simulate(Simulate),
    /// Draw the lifecycle of an aggregate: states, steps, who may take them, and the rules
    Lifecycle {
        /// Which; all if none is named
        aggregate: Option<String>,
        /// As a Mermaid state diagram
        #[arg(long)]
        mermaid: bool,
    },
    /// Put a server under load and measure it: durable reservations, closed or open loop
    Load(Load),
    /// Print the configuration in force and where each value came from
    Config,
}

impl Command {
    /// Whether it has nothing to ask a running server.
    pub(super) const fn is_local(&self) -> bool {
        matches!(
            self,
            Self::Serve(_) | Self::Demo(_) | Self::Generate(_) | Self::Lifecycle { .. } | Self::Config
        )
    }
}

#[derive(Debug, Clone, Args)]
pub(super) struct Serve {
    /// Address to listen on; port 0 picks one [default: 127.0.0.1:7700; environment: DAYBOOK_LISTEN]
    #[arg(long, value_name = "ADDR")]
    pub(super) listen: Option<SocketAddr>,
    /// Serve the event log over the KurrentDB protocol, too, on this address [environment: DAYBOOK_KURRENT_LISTEN]
    #[arg(long, value_name = "ADDR")]
    pub(super) kurrent_listen: Option<SocketAddr>,
}

#[derive(Debug, Subcommand)]
pub(super) enum Import {
    /// The Online Retail data set (UCI), CSV, plain or gzip
    OnlineRetail {
        /// The file
        file: PathBuf,
    },
    /// Variants: NDJSON (a `variant/create` command a line) or CSV, plain, gzip or zstd
    ///
    /// CSV has a header with the columns product_id, name, brand, category, and any of: id, product_group, description, lifecycle, sku,
    /// sku_template, price, currency, compare_at, channels, regions (names with a | between them), attr.TYPE, attr.TYPE.id,
    /// attr.TYPE.display, attr.TYPE.hex, attr.TYPE.rank; attr.TYPE[] and so on for several values of a type (with a | between them).
    /// An import that was broken off goes on where it was; a row that was imported before changes nothing.
    #[command(verbatim_doc_comment)]
    Variants {
        /// The file; - for standard input
        file: PathBuf,
        /// Where refused rows go, with every reason [default: FILE.errors.ndjson]
        #[arg(long, value_name = "FILE")]
        errors: Option<PathBuf>,
        /// Check every row, write nothing
        #[arg(long)]
        dry_run: bool,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum Export {
    /// Every variant that is not archived, as `import variants` takes it
    Variants {
        /// Where to; .gz and .zst compress [default: standard output]
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum Generate {
    /// Plausible variants: garments in colours and sizes, the same for the same seed
    Variants {
        /// How many
        #[arg(long)]
        count: u64,
        /// Which
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// Where to; .gz and .zst compress [default: standard output]
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum Log {
    /// Position of the last event, and how many there are
    Head,
    /// The log's events, one a line
    Read {
        /// Start after this position
        #[arg(long, default_value_t = 0)]
        from: u64,
        /// Print at most so many
        #[arg(long)]
        limit: Option<u64>,
        /// Only these event types: repeatable, or several between commas
        #[arg(long = "type", value_name = "TYPE", value_delimiter = ',')]
        types: Vec<String>,
        /// Only streams whose names start so; repeatable
        #[arg(long, value_name = "PREFIX")]
        stream_prefix: Vec<String>,
    },
    /// A stream's events, one a line
    Stream {
        /// Name of the stream, such as inventory-42
        stream: String,
        /// Start at this revision
        #[arg(long, default_value_t = 1)]
        from: u64,
        /// Print at most so many
        #[arg(long)]
        limit: Option<u64>,
    },
    /// Write a consistent copy of the log, while it runs
    Export {
        /// Where to write; must not exist
        file: PathBuf,
        /// Only what follows this position, for incremental backups
        #[arg(long, default_value_t = 0)]
        from: u64,
    },
    /// Bring an exported copy into an empty log, or one that ends where the copy begins
    Import {
        /// The exported copy
        file: PathBuf,
    },
}

#[derive(Debug, Args)]
pub(super) struct State {
    /// such as variant, inventory, order or color
    pub(super) aggregate: String,
    /// Id of the aggregate
    pub(super) id: String,
    /// As of this time (RFC 3339)
    #[arg(long, value_name = "TIME", conflicts_with = "revision")]
    pub(super) at: Option<Timestamp>,
    /// As of this revision
    #[arg(long, value_name = "N")]
    pub(super) revision: Option<u64>,
}

#[derive(Debug, Args)]
pub(super) struct Price {
    /// Id of the variant
    pub(super) variant: VariantId,
    /// As of this time, past or to come (RFC 3339)
    #[arg(long, value_name = "TIME")]
    pub(super) at: Option<Timestamp>,
    /// In which the buyer pays; that of the variant's own price unless given
    #[arg(long, value_name = "CODE")]
    pub(super) currency: Option<Currency>,
    /// Where the buyer buys
    #[arg(long, value_name = "NAME")]
    pub(super) channel: Option<Token>,
    /// Which the buyer belongs to
    #[arg(long, value_name = "NAME")]
    pub(super) customer_group: Option<Token>,
}

#[derive(Debug, Subcommand)]
pub(super) enum Projections {
    /// Name, generation, checkpoint, head, lag and state of each
    List,
    /// Build a new generation beside the live one, compare, swap
    Rebuild {
        /// Which; all if none is named
        names: Vec<String>,
    },
    /// Go back to the generation before the last swap
    Rollback {
        /// Which
        name: String,
    },
    /// Stop following the log; queries go on
    Pause {
        /// Which
        name: String,
    },
    /// Follow the log again
    Resume {
        /// Which
        name: String,
    },
    /// Print a digest of every table, to compare read models with those of another data folder, engine or event log
    Digest {
        /// Which; all if none is named
        names: Vec<String>,
        /// Leave out positions and times of recording, which two logs of one history do not share
        #[arg(long)]
        facts: bool,
    },
    /// Events that a projector could not take
    #[command(subcommand)]
    DeadLetters(DeadLetters),
}

#[derive(Debug, Subcommand)]
pub(super) enum DeadLetters {
    /// Show them
    List {
        /// Which projection
        name: String,
    },
    /// Apply them again, in order
    Retry {
        /// Which projection
        name: String,
    },
    /// Give one up; leaves an event in the log
    Discard {
        /// Which projection
        name: String,
        /// Position of the event
        position: u64,
        /// Why
        #[arg(long)]
        reason: String,
    },
}

#[derive(Debug, Args)]
pub(super) struct Reconcile {
    /// Which projections; all if none is named
    pub(super) names: Vec<String>,
    /// Put drifted rows right, leaving an event in the log
    #[arg(long)]
    pub(super) repair: bool,
}

#[derive(Debug, Subcommand)]
pub(super) enum Simulate {
    /// Many buyers ask for few units at once
    FlashSale {
        /// Buyers, each on a connection of its own
        #[arg(long, default_value_t = 10_000)]
        buyers: u32,
        /// Units in stock
        #[arg(long, default_value_t = 100)]
        units: u32,
    },
    /// Bots try to hoard
    Bots {
        /// How many
        #[arg(long, default_value_t = 100)]
        bots: u32,
        /// Units in stock
        #[arg(long, default_value_t = 50)]
        units: u32,
    },
    /// Clients race to create the same configuration
    DuplicateConfig {
        /// How many
        #[arg(long, default_value_t = 64)]
        clients: u32,
    },
    /// Damage a read model and see that reconcile finds exactly that: of --server, of the folder named with --data, or of a server of its own
    Drift {
        /// Which read model
        #[arg(long, default_value = "inventory")]
        projection: String,
        /// At most this share of its rows (at least one row, at most 1,000)
        #[arg(long, default_value_t = 0.01)]
        share: f64,
        /// Put the rows right afterwards
        #[arg(long)]
        repair: bool,
    },
    /// Let a projection stand still under commands, and see that it says so and catches up
    Outage {
        /// Which read model
        #[arg(long, default_value = "inventory")]
        projection: String,
        /// Commands sent meanwhile
        #[arg(long, default_value_t = 500)]
        commands: u32,
    },
}

#[derive(Debug, Args)]
pub(super) struct Load {
    /// Keep-alive connections, one request at a time on each
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..))]
    pub(super) connections: u32,
    /// Variants asked for, evenly at random; 1: one hot stream
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    pub(super) variants: u32,
    /// Open loop: requests a second, due at a constant rate; closed loop unless given
    #[arg(long, value_name = "PER_SECOND")]
    pub(super) rate: Option<f64>,
    /// Seconds sent before the measurement
    #[arg(long, default_value_t = 2.0, value_name = "SECONDS")]
    pub(super) warm_up: f64,
    /// Seconds measured
    #[arg(long, default_value_t = 10.0, value_name = "SECONDS")]
    pub(super) duration: f64,
    /// Loads of one name ask for the same variants, on several gateways for instance; a name of its own unless given
    #[arg(long, value_name = "NAME")]
    pub(super) run: Option<String>,
}
