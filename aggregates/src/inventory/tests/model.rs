//! Random commands and jumps in time against a plain reference model.

use std::collections::BTreeMap;

use daybook_schemas::{LocationId, OrderId, Quantity, Text, Timestamp, Token};
use proptest::prelude::*;

use super::*;
use crate::inventory::{
    Adjust, Availability, Confirm, Count, Damage, ExpectDelivery, Expire, Hold, MAX_UNITS, Outcome, Receive,
    Rejection, Release, Reserve, Return, SafetyStock, Sell, SetPolicy, Transfer, Undone,
};
use crate::{Command, Decider, Reject, Roles};

const LOCATIONS: [&str; 3] = ["default", "alpha", "beta"];

/// What became of a hold of the model; time is left to the deadline.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Held,
    Confirmed,
    Released,
}

#[derive(Debug, Clone)]
struct Promise {
    customer: u8,
    order: bool,
    /// Units by location.
    units: [i64; 3],
    expires_at: Timestamp,
    fate: Fate,
}

impl Promise {
    fn counts(&self, now: Timestamp) -> bool {
        self.fate == Fate::Held && self.expires_at > now
    }

    /// Takes units in the order of locations; `None` if fewer are held.
    fn take(&mut self, part: Option<u32>) -> Option<[i64; 3]> {
        let held: i64 = self.units.iter().sum();
        let mut left = part.map_or(held, i64::from);
        if left > held {
            return None;
        }
        let mut taken = [0; 3];
        for (units, taken) in self.units.iter_mut().zip(&mut taken) {
            *taken = left.min(*units);
            *units -= *taken;
            left -= *taken;
        }
        Some(taken)
    }
}

/// Everything as a person would keep it on paper.
#[derive(Debug, Default)]
struct Model {
    on_hand: [i64; 3],
    /// Whether goods ever arrived.
    stocked: bool,
    promises: BTreeMap<u8, Promise>,
}

#[derive(Debug, Clone)]
enum Step {
    Receive { at: usize, units: u32 },
    Sell { at: usize, units: u32 },
    Transfer { from: usize, to: usize, units: u32 },
    Count { at: usize, counted: i64 },
    Reserve { id: u8, customer: u8, order: bool, units: u32, ttl: u32 },
    Confirm { id: u8, part: Option<u32> },
    Release { id: u8, part: Option<u32> },
    Expire,
    Pass { secs: i64 },
}

impl Model {
    fn held(&self, at: usize, now: Timestamp) -> i64 {
        self.promises.values().filter(|promise| promise.counts(now)).map(|promise| promise.units[at]).sum()
    }

    fn free(&self, at: usize, now: Timestamp) -> i64 {
        self.on_hand[at] - self.held(at, now)
    }

    /// The code of the refusal, or what is so afterwards.
    fn run(&mut self, step: &Step, now: Timestamp) -> Result<(), &'static str> {
        match *step {
            Step::Receive { at, units } => {
                self.on_hand[at] += i64::from(units);
                self.stocked = true;
            }
            Step::Sell { at, units } => self.leave(at, i64::from(units), now)?,
            Step::Transfer { from, to, .. } if from == to => return Err("invalid_request"),
            Step::Transfer { from, to, units } => {
                self.leave(from, i64::from(units), now)?;
                self.on_hand[to] += i64::from(units);
            }
            Step::Count { at, counted } => {
                self.leave(at, (self.on_hand[at] - counted).max(0), now)?;
                self.stocked |= counted > self.on_hand[at];
                self.on_hand[at] = counted;
            }
            Step::Reserve { id, customer, order, units, ttl } => {
                self.reserve(id, customer, order, i64::from(units), now.plus_secs(ttl.into()), now)?;
            }
            Step::Confirm { id, part } => {
                let taken = self.settle(id, part, Fate::Confirmed, "reservation_released", now)?;
                for (on_hand, taken) in self.on_hand.iter_mut().zip(taken) {
                    *on_hand -= taken;
                }
            }
            Step::Release { id, part } => {
                self.settle(id, part, Fate::Released, "reservation_confirmed", now)?;
            }
            Step::Expire | Step::Pass { .. } => {}
        }
        Ok(())
    }

    fn leave(&mut self, at: usize, units: i64, now: Timestamp) -> Result<(), &'static str> {
        if self.free(at, now) < units {
            return Err("insufficient_stock");
        }
        self.on_hand[at] -= units;
        Ok(())
    }

    fn reserve(
        &mut self,
        id: u8,
        customer: u8,
        order: bool,
        units: i64,
        expires_at: Timestamp,
        now: Timestamp,
    ) -> Result<(), &'static str> {
        if let Some(known) = self.promises.get(&id) {
            return match known.fate {
                Fate::Confirmed | Fate::Released => Err("reservation_conflict"),
                Fate::Held if !known.counts(now) => Err("reservation_expired"),
                Fate::Held => {
                    let same = known.customer == customer
                        && known.order == order
                        && known.units.iter().sum::<i64>() == units;
                    if same { Ok(()) } else { Err("reservation_conflict") }
                }
            };
        }
        let own = |promise: &&Promise| promise.customer == customer && !promise.order && promise.counts(now);
        if !order && self.promises.values().find(own).is_some() {
            return Err("already_reserved");
        }
        let mut left = units;
        let mut taken = [0; 3];
        // `default` first, then by name: the order of the constant.
        for (at, taken) in taken.iter_mut().enumerate() {
            *taken = self.free(at, now).min(left);
            left -= *taken;
        }
        if left > 0 {
            return Err("insufficient_stock");
        }
        self.promises.insert(id, Promise { customer, order, units: taken, expires_at, fate: Fate::Held });
        Ok(())
    }

    fn settle(
        &mut self,
        id: u8,
        part: Option<u32>,
        fate: Fate,
        otherwise: &'static str,
        now: Timestamp,
    ) -> Result<[i64; 3], &'static str> {
        let promise = self.promises.get_mut(&id).ok_or("not_found")?;
        if promise.fate != Fate::Held {
            return if promise.fate == fate { Ok([0; 3]) } else { Err(otherwise) };
        }
        if !promise.counts(now) {
            return Err("reservation_expired");
        }
        let taken = promise.take(part).ok_or("unprocessable")?;
        if promise.units == [0; 3] {
            promise.fate = fate;
        }
        Ok(taken)
    }
}

fn action(step: &Step, model: &Model) -> Action {
    let location = |at: usize| LocationId::new(LOCATIONS[at]).unwrap();
    let count = |units: u32| Quantity::new(units.into()).unwrap();
    let id = |id: u8| reservation(&format!("r{id}"));
    let reference = None;
    match *step {
        Step::Receive { at, units } => {
            Action::Receive(Receive { location: location(at), quantity: count(units), reference })
        }
        Step::Sell { at, units } => {
            Action::Sell(Sell { location: location(at), quantity: count(units), reference })
        }
        Step::Transfer { from, to, units } => Action::Transfer(Transfer {
            from: location(from),
            to: location(to),
            quantity: count(units),
            reference,
        }),
        Step::Count { at, counted } => {
            Action::Count(Count { location: location(at), expected: model.on_hand[at], counted, reference })
        }
        Step::Reserve { id: number, customer: who, order, units, ttl } => Action::Reserve(Reserve {
            reservation_id: Some(id(number)),
            customer_id: Some(customer(&format!("c{who}"))),
            quantity: count(units),
            ttl_seconds: ttl,
            order_id: order.then(|| OrderId::new("o").unwrap()),
            location: None,
            customer_active_holds: None,
        }),
        Step::Confirm { id: number, part } => {
            Action::Confirm(Confirm { reservation_id: id(number), quantity: part.map(count) })
        }
        Step::Release { id: number, part } => {
            Action::Release(Release { reservation_id: id(number), quantity: part.map(count) })
        }
        Step::Expire | Step::Pass { .. } => Action::Expire(Expire {}),
    }
}

fn command(action: Action, now: Timestamp) -> Command<Action> {
    Command { now, fresh_id: Token::new("fresh").unwrap(), roles: Roles::ALL, action }
}

fn step() -> impl Strategy<Value = Step> {
    let at = 0..3_usize;
    prop_oneof![
        3 => (at.clone(), 1..6_u32).prop_map(|(at, units)| Step::Receive { at, units }),
        1 => (at.clone(), 1..4_u32).prop_map(|(at, units)| Step::Sell { at, units }),
        1 => (at.clone(), 0..3_usize, 1..4_u32).prop_map(|(from, to, units)| Step::Transfer { from, to, units }),
        1 => (at, 0..6_i64).prop_map(|(at, counted)| Step::Count { at, counted }),
        8 => (0..24_u8, 0..8_u8, any::<bool>(), 1..5_u32, 1..90_u32)
            .prop_map(|(id, customer, order, units, ttl)| Step::Reserve { id, customer, order, units, ttl }),
        3 => (0..24_u8, proptest::option::of(1..4_u32)).prop_map(|(id, part)| Step::Confirm { id, part }),
        2 => (0..24_u8, proptest::option::of(1..4_u32)).prop_map(|(id, part)| Step::Release { id, part }),
        1 => Just(Step::Expire),
        3 => (1..60_i64).prop_map(|secs| Step::Pass { secs }),
    ]
}

/// On hand and what is held at `now`, by location.
fn quantities(state: &Inventory, now: Timestamp) -> Vec<(i64, i64)> {
    let quantities = LOCATIONS.iter().map(|name| {
        let location = LocationId::new(name).unwrap();
        let on_hand = state.location(&location).map_or(0, |stock| stock.on_hand);
        let counting = state.holds().filter(|hold| !hold.is_due(now)).flat_map(|hold| &hold.allocations);
        let held = counting.filter(|part| part.location == location).map(|part| part.quantity.as_i64()).sum();
        (on_hand, held)
    });
    quantities.collect()
}

proptest! {
    #[test]
    fn stock_agrees_with_the_model(steps in proptest::collection::vec(step(), 1..150)) {
        let (mut state, mut model, mut now) = (Inventory::default(), Model::default(), Timestamp::from_secs(0));
        for step in &steps {
            if let Step::Pass { secs } = step {
                now = now.plus_secs(*secs);
                // Time passes without a sweeper; the model alone says what that means.
                continue;
            }
            let decided = state.decide(&command(action(step, &model), now));
            let expected = model.run(step, now);
            prop_assert_eq!(decided.as_ref().map(|_| ()).map_err(Reject::code), expected, "{:?}", step);
            let accepted = decided.is_ok();
            for event in decided.unwrap_or_default() {
                cqrs_es::Aggregate::apply(&mut state, event);
            }
            for (at, (on_hand, held)) in quantities(&state, now).into_iter().enumerate() {
                prop_assert_eq!((on_hand, held), (model.on_hand[at], model.held(at, now)), "{:?}", step);
                prop_assert!(0 <= held && held <= on_hand);
            }
            if accepted {
                let free: i64 = (0..3).map(|at| model.free(at, now)).sum();
                prop_assert_eq!(state.totals().available, free, "expiries are on record after {:?}", step);
                let known = match (model.stocked, free > 0) {
                    (false, _) => Availability::Never,
                    (true, true) => Availability::In,
                    (true, false) => Availability::Out,
                };
                prop_assert_eq!(state.signals.stock, known);
                prop_assert!(state.next_deadline().is_none_or(|deadline| deadline > now));
            }
        }
    }
}

fn any_action() -> impl Strategy<Value = Action> {
    let location = || (0..3_usize).prop_map(|at| LocationId::new(LOCATIONS[at]).unwrap());
    let quantity =
        || prop_oneof![1..20_u64, Just(u64::from(Quantity::MAX))].prop_map(|n| Quantity::new(n).unwrap());
    let units = || {
        prop_oneof![
            -20..20_i64,
            Just(i64::MIN),
            Just(i64::MAX),
            Just(MAX_UNITS),
            Just(-MAX_UNITS),
            Just(MAX_UNITS + 1)
        ]
    };
    let id = || (0..6_u8).prop_map(|id| reservation(&format!("r{id}")));
    let limit = || prop_oneof![0..10_u32, Just(u32::MAX)];
    let reference = || Just(None);
    let part = || proptest::option::of(quantity());
    prop_oneof![
        (location(), quantity(), reference()).prop_map(|(location, quantity, reference)| Action::Receive(
            Receive { location, quantity, reference }
        )),
        (location(), units()).prop_map(|(location, delta)| {
            Action::Adjust(Adjust { location, delta, reason: Text::new("why").unwrap(), reference: None })
        }),
        (location(), location(), quantity()).prop_map(|(from, to, quantity)| Action::Transfer(Transfer {
            from,
            to,
            quantity,
            reference: None
        })),
        (location(), quantity()).prop_map(|(location, quantity)| Action::Sell(Sell {
            location,
            quantity,
            reference: None
        })),
        (location(), quantity(), any::<bool>()).prop_map(|(location, quantity, damaged)| {
            Action::Return(Return { location, quantity, damaged, reference: None })
        }),
        (location(), quantity()).prop_map(|(location, quantity)| {
            Action::Damage(Damage { location, quantity, reason: None, reference: None })
        }),
        (location(), units(), units()).prop_map(|(location, expected, counted)| Action::Count(Count {
            location,
            expected,
            counted,
            reference: None
        })),
        (location(), quantity()).prop_map(|(location, quantity)| {
            Action::ExpectDelivery(ExpectDelivery { location, quantity, reference: None })
        }),
        (
            proptest::option::of((location(), limit())),
            proptest::option::of(limit()),
            proptest::option::of(limit())
        )
            .prop_map(|(safety, reorder_point, backorder_limit)| Action::SetPolicy(SetPolicy {
                safety_stock: safety.map(|(location, quantity)| SafetyStock { location, quantity }),
                reorder_point,
                reorder_quantity: reorder_point,
                backorder_limit,
            })),
        (proptest::option::of(id()), 0..4_u8, quantity(), 0..100_u32, proptest::option::of(location()))
            .prop_map(|(reservation_id, who, quantity, ttl_seconds, location)| Action::Reserve(Reserve {
                reservation_id,
                customer_id: Some(customer(&format!("c{who}"))),
                quantity,
                ttl_seconds,
                order_id: None,
                location,
                customer_active_holds: Some(u32::from(who)),
            })),
        (id(), part())
            .prop_map(|(reservation_id, quantity)| Action::Confirm(Confirm { reservation_id, quantity })),
        (id(), part())
            .prop_map(|(reservation_id, quantity)| Action::Release(Release { reservation_id, quantity })),
        Just(Action::Expire(Expire {})),
    ]
}

proptest! {
    /// With any numbers, backorder, safety stock, and a clock that jumps both ways.
    #[test]
    fn decide_then_apply_never_panics_and_keeps_the_books(
        steps in proptest::collection::vec((any_action(), -100..100_i64), 1..60)
    ) {
        let mut state = Inventory::default();
        let mut now = Timestamp::from_secs(0);
        // What somebody knows who hears of arrivals and signals alone.
        let mut heard = None;
        for (action, jump) in steps {
            now = now.plus_secs(jump);
            let decided: Result<Vec<Event>, Rejection> = state.decide(&command(action, now));
            for event in decided.unwrap_or_default() {
                let data = event.to_data();
                prop_assert_eq!(Event::from_data(event.wire_name(), &data).unwrap().unwrap(), event.clone());
                match &event {
                    Event::BackInStock(_) => heard = Some(true),
                    Event::OutOfStock(_) => heard = Some(false),
                    arrival if arrival.is_arrival() => heard = heard.or(Some(true)),
                    _ => {}
                }
                cqrs_es::Aggregate::apply(&mut state, event);
            }
            prop_assert_eq!(heard.unwrap_or(false), state.totals().available > 0);
            for stock in state.locations() {
                let parts = state.holds().flat_map(|hold| &hold.allocations);
                let held: i64 =
                    parts.filter(|part| part.location == stock.location).map(|part| part.quantity.as_i64()).sum();
                prop_assert_eq!(stock.reserved, held);
                prop_assert!(stock.damaged >= 0 && stock.incoming >= 0);
                prop_assert!(stock.on_hand.max(stock.damaged).max(stock.incoming) <= MAX_UNITS);
                prop_assert!(stock.on_hand >= -i64::from(u32::MAX));
            }
            for hold in state.holds() {
                let parts: i64 = hold.allocations.iter().map(|part| part.quantity.as_i64()).sum();
                prop_assert_eq!(parts, hold.quantity.as_i64());
            }
        }
        let snapshot = serde_json::to_vec(&state).unwrap();
        prop_assert_eq!(serde_json::from_slice::<Inventory>(&snapshot).unwrap(), state);
    }
}

/// The state with what comparing states leaves out.
#[derive(Debug, Clone, PartialEq)]
struct Whole {
    state: Inventory,
    own: Vec<Option<Hold>>,
    outcomes: Vec<Option<Outcome>>,
    next_deadline: Option<Timestamp>,
}

impl Whole {
    fn of(state: &Inventory) -> Self {
        let own = |who: u8| state.holds.of_customer(&customer(&format!("c{who}"))).cloned();
        Self {
            state: state.clone(),
            own: (0..8).map(own).collect(),
            outcomes: (0..24).map(|id| state.outcome(&reservation(&format!("r{id}")))).collect(),
            next_deadline: state.next_deadline(),
        }
    }
}

proptest! {
    /// Also where decisions follow on each other before the first of them is taken back.
    #[test]
    fn events_taken_back_leave_no_trace(
        rounds in proptest::collection::vec(
            (proptest::collection::vec((any_action(), 0..40_i64), 0..4), any::<bool>()), 1..40)
    ) {
        let (mut state, mut now) = (Inventory::default(), Timestamp::from_secs(0));
        for (actions, stands) in rounds {
            let before = Whole::of(&state);
            let (mut undos, mut events) = (Vec::new(), Vec::new());
            for (action, jump) in actions {
                now = now.plus_secs(jump);
                for event in state.decide(&command(action, now)).unwrap_or_default() {
                    events.push(event.clone());
                    undos.push(state.apply_undoable(event));
                }
            }
            let after = Whole::of(&state);
            let holds = |state: &Inventory| -> Vec<Hold> { state.holds().cloned().collect() };
            let mut known = holds(&state);
            while let Some(undo) = undos.pop() {
                for undone in state.undo(undo) {
                    match undone {
                        Undone::Gone(hold) => known.retain(|other| other.reservation_id != hold.reservation_id),
                        Undone::Back(hold) => known.push(hold),
                    }
                }
            }
            prop_assert_eq!(Whole::of(&state), before.clone());
            let ids = |holds: &[Hold]| -> std::collections::BTreeSet<_> {
                holds.iter().map(|hold| hold.reservation_id.clone()).collect()
            };
            prop_assert_eq!(ids(&known), ids(&holds(&state)), "who is told of it knows which holds there are");
            for event in events {
                cqrs_es::Aggregate::apply(&mut state, event);
            }
            prop_assert_eq!(Whole::of(&state), after);
            if !stands {
                state = before.state;
            }
        }
    }
}
