//! The handle that the rest of Daybook holds.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use daybook_eventlog::{EventLog, StreamId};
use daybook_schemas::Token;
use smallvec::SmallVec;
use tokio::runtime::Handle;
use tokio::sync::{oneshot, watch};

use crate::book::Book;
use crate::checkpoint::{self, Checkpointer};
use crate::clock::{Clock, DecisionTime};
use crate::composite::hold;
use crate::encode::metadata;
use crate::engine::Engine;
use crate::engine::commit::Commits;
use crate::engine::inbox::{Bounds, Inbox, Signal};
use crate::engine::load::Loaders;
use crate::engine::table::Table;
use crate::engine::task::{ReplySlot, Task};
use crate::error::{CommandError, StartError};
use crate::follow::{follow, follow_turns};
use crate::idempotency::RememberedRefusals;
use crate::op::Op;
use crate::options::Options;
use crate::request::{Reply, Request};
use crate::sequential::SequentialLog;
use crate::state::StreamState;
use crate::stats::Stats;
use crate::{idempotency, ids};

/// Takes commands and carries them out on a log: durable, exact, each stream in the order of the calls. Cloning gives
/// another handle on the same dispatcher; when the last one goes, what was queued is still carried out.
#[derive(Clone)]
pub struct Dispatcher {
    shared: Arc<Shared>,
}

struct Shared {
    inbox: Arc<Inbox>,
    stats: Arc<Stats>,
    clock: Arc<dyn Clock>,
    max_open_orders: u32,
    finished: watch::Receiver<bool>,
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.inbox.close();
    }
}

/// Tells that the decision thread is gone, also if it panicked: then nobody must wait for it.
struct Finish {
    inbox: Arc<Inbox>,
    finish: watch::Sender<bool>,
}

impl Drop for Finish {
    fn drop(&mut self) {
        self.inbox.abandon();
        // Nobody may be left to hear it.
        let _ = self.finish.send(true);
    }
}

impl Dispatcher {
    /// Starts a dispatcher. Returns once deadlines and holds are known from the log, so that the first command is
    /// decided as exactly as any other. To be called in a tokio runtime, which must outlive the dispatcher.
    ///
    /// # Errors
    /// If the log can't be read or holds an event that this build can't decode, or no thread can be started.
    pub async fn start(
        log: Arc<dyn EventLog>,
        options: Options,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, StartError> {
        let runtime = Handle::current();
        let sequential = !log.capabilities().atomic_multi_stream;
        let options = if sequential { Options { max_groups_in_flight: 1, ..options } } else { options };
        let sequential = sequential.then(|| SequentialLog::new(Arc::clone(&log), options.claim_timeout));
        let stats = Arc::new(Stats::default());
        let inbox =
            Inbox::new(Bounds { commands: options.max_outstanding, bytes: options.max_outstanding_bytes });
        let mut book = match &options.checkpoint {
            Some(path) => checkpoint::load(path, log.as_ref()).await.unwrap_or_default(),
            None => Book::default(),
        };
        let folded = book.catch_up(log.as_ref()).await?;
        Stats::add(&stats.scanned, folded);
        let now = clock.now();
        let (holds, timers) = book.index(now);
        let follower_book = if options.shared_log { book.clone() } else { Book::default() };
        let head = log.head().await?;
        let loaders = Loaders::start(&options, &log, &runtime, &inbox, &stats).map_err(StartError::Thread)?;
        let on_jump = Arc::downgrade(&inbox);
        clock.on_jump(Box::new(move || {
            if let Some(inbox) = on_jump.upgrade() {
                inbox.ring();
            }
        }));
        let (finish, finished) = watch::channel(false);
        let checkpointer = match options.checkpoint.clone() {
            Some(path) => {
                let started =
                    Checkpointer::start(path, options.checkpoint_every, book, log.clone(), runtime.clone());
                Some(started.map_err(StartError::Thread)?)
            }
            None => None,
        };
        let max_open_orders = options.max_open_orders;
        if options.shared_log {
            if let Some(turns) = log.turns_asked() {
                runtime.spawn(follow_turns(turns, Arc::downgrade(&inbox)));
            }
            runtime.spawn(follow(log.clone(), inbox.clone(), follower_book, options.leader.clone()));
        }
        let engine = Engine {
            table: Table::new(options.cache_bytes),
            refusals: RememberedRefusals::new(options.remembered_refusals, options.remember_refusals_for),
            commits: Commits::new(
                options.max_groups_in_flight,
                options.max_group_commands,
                options.shared_log && sequential.is_none(),
                head.position,
            ),
            log,
            clock: clock.clone(),
            inbox: inbox.clone(),
            stats: stats.clone(),
            runtime,
            loaders,
            time: DecisionTime::starting_at(now),
            now,
            holds,
            timers,
            options,
            parked: Default::default(),
            scratch: Default::default(),
            to_load: Vec::new(),
            to_catch_up: Vec::new(),
            load_when_durable: Vec::new(),
            batch: Default::default(),
            stopped: None,
            sequential,
        };
        std::thread::Builder::new()
            .name("decide".to_owned())
            .spawn(move || {
                let _finish = Finish { inbox: engine.inbox.clone(), finish };
                engine.run();
                if let Some(checkpointer) = checkpointer {
                    checkpointer.finish();
                }
            })
            .map_err(StartError::Thread)?;
        Ok(Self { shared: Arc::new(Shared { inbox, stats, clock, max_open_orders, finished }) })
    }

    /// Sends a command. It is queued when this is called, not when the answer is first polled, so that a caller can
    /// send many and have them carried out in order; dropping the answer does not take the command back.
    pub fn dispatch(&self, request: Request) -> Answer {
        let (sender, receiver) = oneshot::channel();
        match self.queue(request, sender) {
            Ok(()) => Answer(State::Waiting(receiver)),
            Err(error) => {
                self.shared.stats.refused(error.code());
                Answer(State::Refused(Some(error)))
            }
        }
    }

    /// Tells of a command that is to be sent soon, so that its own streams are in memory by then: where reading is waiting, whoever
    /// sends commands that must wait for each other waits once less for each. A hint, and no place in the order of commands.
    pub fn read_ahead(&self, request: &Request) {
        // A wrong id or aggregate is refused when the command comes.
        let main = StreamId::new(format!("{}-{}", request.aggregate, request.id)).ok();
        let main = main.filter(|main| StreamState::initial(main.as_str()).is_some());
        let key = request.idempotency_key.as_ref();
        let key = key.map(|key| idempotency::stream_of(request.principal.name.as_str(), key));
        let beside = hold::looked_at(&request.aggregate, &request.command, &request.id);
        self.shared.inbox.signal(Signal::Expected([main, key, beside]));
    }

    fn queue(
        &self,
        request: Request,
        sender: oneshot::Sender<Result<Reply, CommandError>>,
    ) -> Result<(), CommandError> {
        let permit = self.shared.inbox.admit(request.body.len()).ok_or(CommandError::Overloaded)?;
        let task = self.prepare(request, Some(ReplySlot { sender, permit }))?;
        self.shared
            .inbox
            .push(task)
            .map_err(|_| CommandError::Stopped("the dispatcher is shutting down".to_owned()))
    }

    /// Everything that needs no state is done here, on the caller's thread.
    fn prepare(&self, request: Request, reply: Option<ReplySlot>) -> Result<Box<Task>, CommandError> {
        let Request { aggregate, id, command: name, body, principal, .. } = &request;
        let id = Token::new(id).map_err(|error| CommandError::InvalidRequest(error.to_string()))?;
        let command = match &request.idempotency_key {
            Some(key) => ids::of_key(principal.name.as_str(), key),
            None => ids::fresh(self.shared.clock.now()),
        };
        let fresh_id = ids::fresh_token(command);
        let op = Op::parse(aggregate, &id, name, body, &fresh_id, principal, self.shared.max_open_orders)?;
        let key = request
            .idempotency_key
            .as_ref()
            .map(|key| {
                idempotency::parse(
                    principal.name.as_str(),
                    key,
                    [aggregate.as_str(), id.as_str(), name.as_str()],
                    body,
                )
            })
            .transpose()?;
        Ok(Box::new(Task {
            seq: 0,
            main: crate::workspace::stream::of(aggregate, &id),
            op,
            if_match: request.if_match.clone(),
            key,
            command,
            first_event_id: ids::of_event(command, 0),
            fresh_id,
            roles: principal.roles,
            metadata: metadata(
                command,
                request.correlation_id.as_ref(),
                request.causation_id.as_ref(),
                &principal.name,
            ),
            reply,
            void_record: None,
            attempt: 0,
            contended_since: None,
            alone: false,
            doubts: Vec::new(),
            places: SmallVec::new(),
        }))
    }

    /// Live counters.
    #[must_use]
    pub fn stats(&self) -> &Stats {
        &self.shared.stats
    }

    /// Refuses further commands, carries out what was queued, and returns when that is done.
    pub async fn shutdown(&self) {
        self.shared.inbox.close();
        let mut finished = self.shared.finished.clone();
        // An error means that the thread is gone, which is what was waited for.
        let _ = finished.wait_for(|finished| *finished).await;
    }
}

/// The answer to a command, sooner or later.
#[must_use = "whether the command was carried out is only known from its answer"]
pub struct Answer(State);

enum State {
    Waiting(oneshot::Receiver<Result<Reply, CommandError>>),
    Refused(Option<CommandError>),
}

impl Future for Answer {
    type Output = Result<Reply, CommandError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut self.0 {
            State::Waiting(receiver) => Pin::new(receiver).poll(context).map(|answer| {
                answer
                    .unwrap_or_else(|_| Err(CommandError::Stopped("the decision thread is gone".to_owned())))
            }),
            State::Refused(error) => Poll::Ready(Err(error.take().expect("polled again after it was ready"))),
        }
    }
}
