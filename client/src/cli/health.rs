//! `inkpot health`: what grpc.health.v1 of the server says. That needs no token, and none is sent.

use super::{
    failure::{Exit, Failure},
    global::GlobalArgs,
    output::{self, Format},
    units,
};
use serde::Serialize;
use std::{
    error::Error as _,
    fmt, iter,
    time::{Duration, SystemTime},
};
use tokio::time;
use tonic::{Code, Response, Status, transport::Channel};
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient};

/// Our own word: there is no server that could say anything.
const UNREACHABLE: &str = "UNREACHABLE";
/// Before a lost connection is made again.
const PAUSE: Duration = Duration::from_millis(500);
/// Without pings the loss of a silent server goes unseen.
const PING_INTERVAL: Duration = Duration::from_secs(10);

const AFTER_HELP: &str = "\
Examples:
  inkpot health && inkpot append logs/app <app.log  only if the server takes it
  inkpot health --watch --output json               a JSON object per change, for programs

Services:
  inkpot.v1.WriteService  every shard takes appends, and the server is not stopping
  inkpot.v1.shard-0000    this shard takes appends; the others have the numbers that follow
  \"\"                      the process lives

Status, one on a line:
  SERVING          the only one with exit status 0
  NOT_SERVING      recovering, stopping, or a shard is closed
  SERVICE_UNKNOWN  the server has no service of this name
  UNREACHABLE      with --watch or --output json: there is no server; with --watch it is asked again";

/// Ask whether the server serves
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Args {
    /// Service to ask for
    #[arg(long, default_value = "inkpot.v1.WriteService", value_name = "NAME")]
    service: String,
    /// Stay, and write each change with its time, over lost connections too, until interrupted
    #[arg(short, long)]
    watch: bool,
    /// How long the server has to answer
    #[arg(long, default_value = "5s", value_parser = units::some_time, value_name = "TIME")]
    timeout: Duration,
}

impl Args {
    fn request(&self) -> HealthCheckRequest {
        HealthCheckRequest { service: self.service.clone() }
    }
}

/// Runs `inkpot health`.
pub(crate) async fn run(global: &GlobalArgs, args: Args) -> Result<Exit, Failure> {
    let target = global.target()?;
    let builder = target.anonymous()?.connect_timeout(args.timeout).keepalive(PING_INTERVAL, args.timeout);
    let client = HealthClient::new(target.connect(builder).await?.channel());
    let mut probe = Probe { client, endpoint: target.endpoint, args, format: global.format, shown: None };
    if probe.args.watch { probe.watch().await } else { probe.check().await }
}

/// Asks, and shows the answers.
struct Probe {
    client: HealthClient<Channel>,
    endpoint: String,
    args: Args,
    format: Format,
    /// The last status that was shown.
    shown: Option<&'static str>,
}

impl Probe {
    async fn check(&mut self) -> Result<Exit, Failure> {
        let status = match within(self.args.timeout, self.client.check(self.args.request())).await {
            Ok(answer) => answer.status(),
            Err(status) if status.code() == Code::NotFound => ServingStatus::ServiceUnknown,
            Err(status) => {
                // Programs are told in the same form as of all else. What answers there and has no health is reached.
                if self.format == Format::Json && status.code() != Code::Unimplemented {
                    let _ = self.show(UNREACHABLE, None).await; // the status is bad whether or not somebody reads this
                }
                return Err(self.failure(&status));
            }
        };
        let exit = if status == ServingStatus::Serving { Exit::Done } else { Exit::Error };
        exit.told(self.show(status.as_str_name(), None).await)
    }

    /// Shows each change, for ever.
    async fn watch(&mut self) -> Result<Exit, Failure> {
        loop {
            let end = self.follow().await?;
            match end.code() {
                Code::NotFound => self.show_change(ServingStatus::ServiceUnknown.as_str_name()).await?,
                // What answers there is no server of ours, and will not become one.
                Code::Unimplemented => return Err(self.failure(&end)),
                _ => {
                    if self.shown != Some(UNREACHABLE) {
                        output::say(format_args!("inkpot: {}: {}; trying again", self.endpoint, words(&end)));
                    }
                    self.show_change(UNREACHABLE).await?;
                }
            }
            time::sleep(PAUSE).await;
        }
    }

    /// Shows each change that one call tells of; gives how the call ended.
    async fn follow(&mut self) -> Result<Status, Failure> {
        let mut answers = match within(self.args.timeout, self.client.watch(self.args.request())).await {
            Ok(answers) => answers,
            Err(status) => return Ok(status),
        };
        loop {
            match answers.message().await {
                Ok(Some(answer)) => self.show_change(answer.status().as_str_name()).await?,
                Ok(None) => return Ok(Status::unavailable("the server ended the call")),
                Err(status) => return Ok(status),
            }
        }
    }

    async fn show_change(&mut self, status: &'static str) -> Result<(), Failure> {
        if self.shown.replace(status) == Some(status) {
            return Ok(());
        }
        self.show(status, Some(humantime::format_rfc3339_millis(SystemTime::now()).to_string())).await
    }

    async fn show(&self, status: &'static str, time: Option<String>) -> Result<(), Failure> {
        output::answer(self.format, &Answer { time, status, service: &self.args.service }).await
    }

    fn failure(&self, status: &Status) -> Failure {
        let Self { endpoint, .. } = self;
        let advice = "does a server run there (`inkpot server`), and is it the right one (`inkpot context show`)?";
        Failure::new(Exit::Error, format!("{endpoint}: {}; {advice}", words(status)))
    }
}

/// What the server says of a service.
#[derive(Debug, Serialize)]
struct Answer<'a> {
    /// RFC 3339, UTC.
    #[serde(skip_serializing_if = "Option::is_none")]
    time: Option<String>,
    status: &'static str,
    service: &'a str,
}

impl fmt::Display for Answer<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(time) = &self.time {
            write!(f, "{time} ")?;
        }
        f.write_str(self.status)?;
        if self.service.is_empty() { Ok(()) } else { write!(f, " {}", self.service) }
    }
}

/// The answer to a call, if it comes in time.
async fn within<T>(limit: Duration, call: impl Future<Output = Result<Response<T>, Status>>) -> Result<T, Status> {
    match time::timeout(limit, call).await {
        Ok(answer) => answer.map(Response::into_inner),
        Err(_) => Err(Status::deadline_exceeded(format!("no answer within {}", humantime::format_duration(limit)))),
    }
}

/// What is at the bottom of it: tonic's own words say no more than "transport error".
fn words(status: &Status) -> String {
    let causes = iter::successors(status.source(), |&cause| cause.source());
    causes.last().map_or_else(|| status.message().to_owned(), ToString::to_string)
}
