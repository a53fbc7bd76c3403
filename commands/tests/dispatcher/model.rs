//! Random commands, clock jumps, restarts and crashes against a plain reference model of stock.

use std::collections::BTreeMap;
use std::sync::Arc;

use daybook_commands::{Answer, Clock, ManualClock, Options};
use daybook_eventlog::AppendError;
use daybook_eventlog::memory::MemoryLog;
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::support::faulty::FaultyLog;
use crate::support::{Shop, all_events, data, start_time};

const VARIANTS: usize = 7;
const CUSTOMERS: usize = 3;

#[derive(Debug, Clone)]
enum Step {
    Receive(usize, u32),
    Sell(usize, u32),
    Reserve {
        variant: usize,
        customer: usize,
        quantity: u32,
        ttl: u32,
    },
    /// Of the n-th reservation from the end.
    Confirm(usize),
    Release(usize),
    /// Seconds, also backwards.
    Clock(i64),
    Restart,
    /// Reservations that are under way when the log stops; the n-th append is the last that is written.
    Crash {
        commands: Vec<(usize, usize)>,
        written: usize,
    },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (0..VARIANTS, 1..6_u32).prop_map(|(v, q)| Step::Receive(v, q)),
        1 => (0..VARIANTS, 1..3_u32).prop_map(|(v, q)| Step::Sell(v, q)),
        8 => (0..VARIANTS, 0..CUSTOMERS, 1..3_u32, 1..90_u32)
            .prop_map(|(variant, customer, quantity, ttl)| Step::Reserve { variant, customer, quantity, ttl }),
        3 => (0..6_usize).prop_map(Step::Confirm),
        2 => (0..6_usize).prop_map(Step::Release),
        3 => (-100..100_i64).prop_map(Step::Clock),
        1 => Just(Step::Restart),
        1 => (prop::collection::vec((0..VARIANTS, 0..CUSTOMERS), 1..6), 0..6_usize)
            .prop_map(|(commands, written)| Step::Crash { commands, written }),
    ]
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Status {
    Active,
    Confirmed,
    Released,
    Expired,
}

#[derive(Debug, Clone)]
struct Hold {
    id: String,
    variant: usize,
    customer: String,
    quantity: i64,
    /// Microseconds.
    expires_at: i64,
    status: Status,
}

/// The rules in the plainest form. Time as decisions see it, in microseconds.
#[derive(Debug, Default)]
struct Model {
    on_hand: [i64; VARIANTS],
    holds: Vec<Hold>,
    clock: i64,
    ahead: i64,
}

type Outcome = Result<(), &'static str>;

impl Model {
    fn set_clock(&mut self, clock: i64) {
        let passed = clock - self.clock;
        self.ahead = if passed < 0 { self.ahead - passed } else { (self.ahead - passed / 2).max(0) };
        self.clock = clock;
        self.expire();
    }

    fn now(&self) -> i64 {
        self.clock + self.ahead
    }

    fn expire(&mut self) {
        let now = self.now();
        for hold in self.holds.iter_mut().filter(|h| h.status == Status::Active && h.expires_at <= now) {
            hold.status = Status::Expired;
        }
    }

    fn active(&self) -> impl Iterator<Item = &Hold> {
        self.holds.iter().filter(|hold| hold.status == Status::Active)
    }

    fn available(&self, variant: usize) -> i64 {
        self.on_hand[variant]
            - self.active().filter(|hold| hold.variant == variant).map(|hold| hold.quantity).sum::<i64>()
    }

    fn sell(&mut self, variant: usize, quantity: i64) -> Outcome {
        if self.available(variant) < quantity {
            return Err("insufficient_stock");
        }
        self.on_hand[variant] -= quantity;
        Ok(())
    }

    fn reserve(&mut self, hold: Hold) -> Outcome {
        if self.active().any(|other| other.variant == hold.variant && other.customer == hold.customer) {
            return Err("already_reserved");
        }
        if self.active().filter(|other| other.customer == hold.customer).count() >= 5 {
            return Err("too_many_reservations");
        }
        if self.available(hold.variant) < hold.quantity {
            return Err("insufficient_stock");
        }
        self.holds.push(hold);
        Ok(())
    }

    fn end(&mut self, index: usize, wanted: Status) -> Outcome {
        let hold = &mut self.holds[index];
        match hold.status {
            Status::Active => {
                hold.status = wanted;
                if wanted == Status::Confirmed {
                    self.on_hand[hold.variant] -= hold.quantity;
                }
                Ok(())
            }
            status if status == wanted => Ok(()),
            Status::Confirmed => Err("reservation_confirmed"),
            Status::Released => Err("reservation_released"),
            Status::Expired => Err("reservation_expired"),
        }
    }

    /// What the log says, checking at every event that nothing goes wrong. Holds are expired only where it says so.
    fn of_log(events: &[daybook_eventlog::RecordedEvent]) -> Self {
        let mut model = Self::default();
        let mut by_id: BTreeMap<String, usize> = BTreeMap::new();
        for event in events {
            let Some(variant) = event.stream().strip_prefix("inventory-") else { continue };
            let (variant, data) = (variant.parse::<usize>().unwrap(), data(event));
            let quantity = data["quantity"].as_i64().unwrap_or(0);
            let id = data["reservation_id"].as_str().unwrap_or_default().to_owned();
            match event.event_type() {
                "inventory.received" => model.on_hand[variant] += quantity,
                "inventory.sold" => model.on_hand[variant] -= quantity,
                "inventory.reserved" => {
                    assert!(by_id.insert(id.clone(), model.holds.len()).is_none(), "{id} reserved twice");
                    model.holds.push(hold_of(variant, quantity, id, &data));
                }
                "inventory.confirmed" => {
                    model.holds[by_id[&id]].status = Status::Confirmed;
                    model.on_hand[variant] -= quantity;
                }
                "inventory.released" => model.holds[by_id[&id]].status = Status::Released,
                "inventory.reservations_expired" => {
                    for expired in data["reservations"].as_array().unwrap() {
                        model.holds[by_id[expired["reservation_id"].as_str().unwrap()]].status =
                            Status::Expired;
                    }
                }
                _ => {}
            }
            assert!(model.on_hand[variant] >= 0 && model.available(variant) >= 0, "oversold at {event:?}");
        }
        model
    }
}

fn hold_of(variant: usize, quantity: i64, id: String, data: &Value) -> Hold {
    let expires_at = data["expires_at"].as_str().unwrap().parse::<daybook_schemas::Timestamp>().unwrap();
    Hold {
        id,
        variant,
        customer: data["customer_id"].as_str().unwrap().to_owned(),
        quantity,
        expires_at: expires_at.as_micros(),
        status: Status::Active,
    }
}

struct Run {
    log: MemoryLog,
    shop: Shop,
    model: Model,
    next: usize,
}

impl Run {
    async fn open() -> Self {
        let log = MemoryLog::new();
        let shop = Shop::with(Arc::new(log.clone()), Options::default()).await;
        let model = Model { clock: start_time().as_micros(), ..Model::default() };
        Self { log, shop, model, next: 0 }
    }

    fn reserve(&mut self, variant: usize, customer: usize, quantity: u32, ttl: u32) -> (Hold, Answer) {
        self.next += 1;
        let hold = Hold {
            id: format!("r{}", self.next),
            variant,
            customer: format!("c{customer}"),
            quantity: i64::from(quantity),
            expires_at: self.model.now() + i64::from(ttl) * 1_000_000,
            status: Status::Active,
        };
        let body = json!({"reservation_id": hold.id, "customer_id": hold.customer, "quantity": quantity, "ttl_seconds": ttl});
        let answer = self.shop.send(&format!("inventory/{variant}/reserve"), body);
        (hold, answer)
    }

    async fn take(&mut self, step: Step) {
        match step {
            Step::Receive(variant, quantity) => {
                self.shop.ok(&format!("inventory/{variant}/receive"), json!({"quantity": quantity})).await;
                self.model.on_hand[variant] += i64::from(quantity);
            }
            Step::Sell(variant, quantity) => {
                let answer =
                    self.shop.send(&format!("inventory/{variant}/sell"), json!({"quantity": quantity}));
                compare(answer, self.model.sell(variant, i64::from(quantity))).await;
            }
            Step::Reserve { variant, customer, quantity, ttl } => {
                let (hold, answer) = self.reserve(variant, customer, quantity, ttl);
                compare(answer, self.model.reserve(hold)).await;
            }
            Step::Confirm(back) => self.end(back, "confirm", Status::Confirmed).await,
            Step::Release(back) => self.end(back, "release", Status::Released).await,
            Step::Clock(secs) => {
                self.shop.clock.advance_secs(secs);
                // A refused command shows that decisions have seen the new time.
                self.shop.no("inventory/nothing/sell", json!({"quantity": 1})).await;
                self.model.set_clock(self.shop.clock.now().as_micros());
            }
            Step::Restart => {
                self.shop.dispatcher.shutdown().await;
                self.reopen().await;
            }
            Step::Crash { commands, written } => self.crash(commands, written).await,
        }
    }

    async fn end(&mut self, back: usize, command: &str, wanted: Status) {
        let Some(index) = self.model.holds.len().checked_sub(back + 1) else { return };
        let hold = self.model.holds[index].clone();
        let path = format!("inventory/{}/{command}", hold.variant);
        let answer = self.shop.send(&path, json!({"reservation_id": hold.id}));
        compare(answer, self.model.end(index, wanted)).await;
    }

    /// The log stops under commands: some of them are in it, some are not, and who asked knows of neither.
    async fn crash(&mut self, commands: Vec<(usize, usize)>, written: usize) {
        self.shop.dispatcher.shutdown().await;
        let dying = FaultyLog::new(self.log.clone());
        let clock = self.shop.clock.clone();
        self.shop = Shop::at(Arc::new(dying.clone()), Options::default(), clock).await;
        let count = std::sync::atomic::AtomicUsize::new(0);
        dying.fail(move |_| {
            let number = count.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            (number >= written).then(|| (AppendError::Stopped("crash".into()), number == written))
        });
        let mut acknowledged = Vec::new();
        let sent: Vec<_> = commands.iter().map(|(v, c)| self.reserve(*v, *c, 1, 60)).collect();
        for (hold, answer) in sent {
            if answer.await.is_ok() {
                acknowledged.push(hold.id);
            }
        }
        self.shop.dispatcher.shutdown().await;
        self.reopen().await;
        for id in acknowledged {
            assert!(self.model.holds.iter().any(|hold| hold.id == id), "{id} was acknowledged and is lost");
        }
    }

    /// A new dispatcher on the log; what stands is what the log says. Its time begins with the clock.
    async fn reopen(&mut self) {
        let clock: Arc<ManualClock> = self.shop.clock.clone();
        let before = Model::of_log(&all_events(&self.log).await);
        for hold in &self.model.holds {
            assert!(before.holds.iter().any(|other| other.id == hold.id), "{} is lost", hold.id);
        }
        self.model = Model { clock: clock.now().as_micros(), ..before };
        self.model.expire();
        self.shop = Shop::at(Arc::new(self.log.clone()), Options::default(), clock).await;
    }
}

async fn compare(answer: Answer, expected: Outcome) {
    let got = answer.await;
    assert_eq!(got.as_ref().map(|_| ()).map_err(|error| error.code()), expected, "{got:?}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn stock_agrees_with_the_model(steps in prop::collection::vec(step(), 1..60)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut run = Run::open().await;
            for step in steps {
                run.take(step).await;
            }
            run.shop.dispatcher.shutdown().await;
            let log = Model::of_log(&all_events(&run.log).await);
            prop_assert_eq!(log.on_hand, run.model.on_hand);
            for (told, known) in log.holds.iter().zip(&run.model.holds) {
                // What ran out may not be on record yet.
                let same = told.status == known.status
                    || (told.status, known.status) == (Status::Active, Status::Expired);
                prop_assert!(same && told.id == known.id, "{:?} {:?}", told, known);
            }
            Ok(())
        })?;
    }
}
