//! From a request to what is to be decided.

use daybook_aggregates::{
    Command, CommandSpec, attribute_type, attribute_value, category, color, credit, inventory, order,
    product, size, variant,
};
use daybook_eventlog::StreamId;
use daybook_schemas::body::from_slice as read_body;
use daybook_schemas::{CreditId, OrderId, ProductId, Timestamp, Token, VariantId};
use smallvec::SmallVec;

use crate::composite::generate::Generate;
use crate::composite::masters::MasterOp;
use crate::composite::place::PlaceOrder;
use crate::composite::record::{RecordBody, RecordOrder};
use crate::composite::{archive, check, create, generate, give_back, govern, hold, pay, place, record};
use crate::encode::metadata;
use crate::engine::task::Task;
use crate::error::CommandError;
use crate::ids;
use crate::request::Principal;
use crate::workspace::{Halt, Workspace};

/// What is to be decided.
pub(crate) enum Op {
    Variant(Command<variant::Action>),
    Inventory(Command<inventory::Action>),
    Order(Command<order::Action>),
    Credit(Command<credit::Action>),
    /// With the streams that it is expected to look at.
    CreateVariant(Box<variant::Create>, Vec<StreamId>),
    CheckVariant(VariantId, Box<variant::Create>),
    /// A step of a variant that is to be looked at only.
    CheckStep(Command<variant::Action>),
    ArchiveVariant(variant::Archive),
    /// A step or edit of a variant that looks at master data.
    GovernVariant(Command<variant::Action>),
    Master(Box<MasterOp>),
    Generate(Box<Generate>),
    PlaceOrder(Box<PlaceOrder>),
    RecordOrder(Box<RecordOrder>),
    PayOrder(order::Pay),
    /// `cancel` or `fail-payment`.
    CallOffOrder(order::Action),
    ReceiveReturn(order::ReceiveReturn),
}

/// Every command that has a route, by aggregate.
#[must_use]
pub fn specs() -> Vec<(&'static str, CommandSpec)> {
    let record = CommandSpec {
        name: "record",
        summary: "Records an order of the past: placed, paid, shipped and delivered at its own time.",
        schema: || schemars::schema_for!(RecordBody),
        internal: false,
    };
    let check = CommandSpec {
        name: "check",
        summary: "Tells everything that speaks against creating the variant; creates nothing.",
        schema: || schemars::schema_for!(variant::Create),
        internal: false,
    };
    let check_step = CommandSpec {
        name: "check-step",
        summary: "Tells everything that speaks against a step of the lifecycle; takes none.",
        schema: || schemars::schema_for!(check::CheckStep),
        internal: false,
    };
    let of = |aggregate, specs: Vec<CommandSpec>| specs.into_iter().map(move |spec| (aggregate, spec));
    of("variant", variant::Action::specs())
        .chain(of("variant", vec![check, check_step]))
        .chain(of("inventory", inventory::Action::specs()))
        .chain(of("order", order::Action::specs()))
        .chain(of("order", vec![record]))
        .chain(of("credit", credit::Action::specs()))
        .chain(of("size", size::Action::specs()))
        .chain(of("color", color::Action::specs()))
        .chain(of("attribute_type", attribute_type::Action::specs()))
        .chain(of("attribute_value", attribute_value::Action::specs()))
        .chain(of("category", category::Action::specs()))
        .chain(of("product", product::Action::specs()))
        .collect()
}

impl Op {
    /// Parses the body of a command.
    pub(crate) fn parse(
        aggregate: &str,
        id: &Token,
        name: &str,
        body: &[u8],
        fresh_id: &Token,
        principal: &Principal,
        max_open_orders: u32,
    ) -> Result<Self, CommandError> {
        let unknown = || CommandError::UnknownCommand {
            aggregate: aggregate.chars().take(64).collect(),
            command: name.chars().take(64).collect(),
        };
        let roles = principal.roles;
        let invalid = |error: serde_json::Error| CommandError::InvalidRequest(error.to_string());
        macro_rules! parse {
            ($module:ident) => {{
                if is_internal(aggregate, name) && !roles.contains(daybook_aggregates::Role::System) {
                    return Err(unknown());
                }
                let action = $module::Action::parse(name, body).ok_or_else(unknown)?.map_err(invalid)?;
                Command { now: Timestamp::EPOCH, fresh_id: fresh_id.clone(), roles, action }
            }};
        }
        Ok(match aggregate {
            "variant" if name == "check" => {
                let create: variant::Create = read_body(body).map_err(invalid)?;
                let id = VariantId::new(id.as_str()).expect("all ids have one alphabet");
                Self::CheckVariant(id, Box::new(create))
            }
            "variant" if name == "check-step" => {
                let check::CheckStep { step } = read_body(body).map_err(invalid)?;
                let known = variant::StepName::ALL.into_iter().any(|known| known.as_str() == step.as_str());
                let action = variant::Action::parse(step.as_str(), b"{}").filter(|_| known);
                let action = action.ok_or_else(|| {
                    CommandError::InvalidRequest(format!("step: {step} is no step of the lifecycle"))
                })?;
                let action = action.map_err(invalid)?;
                Self::CheckStep(Command { now: Timestamp::EPOCH, fresh_id: fresh_id.clone(), roles, action })
            }
            "variant" => Self::of_variant(id, parse!(variant), principal),
            "inventory" => Self::Inventory(parse!(inventory)),
            "order" => match name {
                "place" => {
                    let body = order::PlaceBody::parse(body).map_err(invalid)?;
                    Self::PlaceOrder(Box::new(PlaceOrder { order_id: order_id(id), body, max_open_orders }))
                }
                "record" => {
                    let body: RecordBody = read_body(body).map_err(invalid)?;
                    Self::RecordOrder(Box::new(RecordOrder { order_id: order_id(id), body }))
                }
                _ => Self::of_order(parse!(order)),
            },
            "credit" => {
                let mut command = parse!(credit);
                let id = CreditId::new(id.as_str()).ok();
                match &mut command.action {
                    credit::Action::Issue(issue) => issue.credit_id = id,
                    credit::Action::AdjustBadDebt(adjust) => adjust.credit_id = id,
                }
                Self::Credit(command)
            }
            "size" => Self::master(MasterOp::Size(id.clone(), parse!(size)), id, principal),
            "color" => Self::master(MasterOp::Color(id.clone(), parse!(color)), id, principal),
            "attribute_type" => {
                Self::master(MasterOp::AttributeType(id.clone(), parse!(attribute_type)), id, principal)
            }
            "attribute_value" => {
                Self::master(MasterOp::AttributeValue(id.clone(), parse!(attribute_value)), id, principal)
            }
            "category" => Self::master(MasterOp::Category(id.clone(), parse!(category)), id, principal),
            "product" if name == "generate-variants" => {
                let body: product::GenerateVariants = read_body(body).map_err(invalid)?;
                let product_id = ProductId::new(id.as_str()).expect("all ids have one alphabet");
                Self::Generate(Box::new(Generate { product_id, body }))
            }
            "product" => Self::master(MasterOp::Product(parse!(product)), id, principal),
            _ => return Err(unknown()),
        })
    }

    fn master(op: MasterOp, id: &Token, principal: &Principal) -> Self {
        Self::Master(Box::new(op.with_facts(id, principal)))
    }

    fn of_variant(id: &Token, mut command: Command<variant::Action>, principal: &Principal) -> Self {
        if let variant::Action::Lock(lock) = &mut command.action {
            lock.locked_by = Some(principal.name.clone());
        }
        match command.action {
            variant::Action::Create(mut create) => {
                create.variant_id = VariantId::new(id.as_str()).ok();
                let expected = create::expected_streams(&create);
                Self::CreateVariant(create, expected)
            }
            variant::Action::Archive(archive) => Self::ArchiveVariant(archive),
            variant::Action::Approve(_)
            | variant::Action::Activate(_)
            | variant::Action::Reactivate(_)
            | variant::Action::ChangeDetails(_)
            | variant::Action::ChangeSegmentation(_)
            | variant::Action::RefreshAttribute(_) => Self::GovernVariant(command),
            _ => Self::Variant(command),
        }
    }

    fn of_order(command: Command<order::Action>) -> Self {
        match command.action {
            order::Action::Pay(pay) => Self::PayOrder(pay),
            action @ (order::Action::Cancel(_) | order::Action::FailPayment(_)) => Self::CallOffOrder(action),
            order::Action::ReceiveReturn(receive) => Self::ReceiveReturn(receive),
            _ => Self::Order(command),
        }
    }

    /// Where streams are written one by one: whether the command's own stream comes before the others. Where it does, a
    /// break between them loses what the others were to get; else they would get it, and again on a retry.
    pub(crate) const fn main_first(&self) -> bool {
        matches!(self, Self::ArchiveVariant(_) | Self::CallOffOrder(_) | Self::ReceiveReturn(_))
    }

    /// Decides on the present state.
    pub(crate) fn decide(&mut self, workspace: &mut Workspace<'_>, main: &StreamId) -> Result<(), Halt> {
        let now = workspace.context.now;
        match self {
            Self::Variant(command) => {
                command.now = now;
                workspace.decide::<variant::Variant>(main, command)?;
            }
            Self::Inventory(command) => hold::decide(workspace, main, command)?,
            Self::Order(command) => {
                command.now = now;
                workspace.decide::<order::Order>(main, command)?;
            }
            Self::Credit(command) => {
                command.now = now;
                workspace.decide::<credit::Credit>(main, command)?;
            }
            Self::CreateVariant(create, expected) => create::decide(workspace, main, create, expected)?,
            Self::CheckVariant(id, create) => check::decide(workspace, main, id, create)?,
            Self::CheckStep(command) => check::step(workspace, main, command)?,
            Self::ArchiveVariant(archive) => archive::decide(workspace, main, archive)?,
            Self::GovernVariant(command) => govern::decide(workspace, main, command)?,
            Self::Master(op) => op.decide(workspace, main)?,
            Self::Generate(asked) => generate::decide(workspace, main, asked)?,
            Self::PlaceOrder(asked) => place::decide(workspace, main, asked)?,
            Self::RecordOrder(asked) => record::decide(workspace, main, asked)?,
            Self::PayOrder(pay) => pay::decide(workspace, main, pay)?,
            Self::CallOffOrder(action) => give_back::call_off(workspace, main, action)?,
            Self::ReceiveReturn(receive) => give_back::receive_return(workspace, main, receive)?,
        }
        Ok(())
    }
}

fn order_id(id: &Token) -> OrderId {
    OrderId::new(id.as_str()).expect("all ids have one alphabet")
}

/// Commands that only Daybook itself gives.
fn is_internal(aggregate: &str, name: &str) -> bool {
    matches!(
        (aggregate, name),
        ("inventory", "expire") | ("variant", "apply-due-prices" | "refresh-attribute")
    )
}

/// What the dispatcher itself asks of a stream whose deadline has come.
pub(crate) fn deadline_task(main: &StreamId, seq: u64, now: Timestamp) -> Option<Box<Task>> {
    let command = ids::fresh(now);
    let fresh_id = ids::fresh_token(command);
    let principal = Principal::system();
    let op = match main.as_str().split_once('-')? {
        ("inventory", _) => Op::Inventory(Command {
            now,
            fresh_id: fresh_id.clone(),
            roles: principal.roles,
            action: inventory::Action::Expire(inventory::Expire {}),
        }),
        ("variant", _) => Op::Variant(Command {
            now,
            fresh_id: fresh_id.clone(),
            roles: principal.roles,
            action: variant::Action::ApplyDuePrices(variant::ApplyDuePrices {}),
        }),
        _ => return None,
    };
    Some(Box::new(Task {
        seq,
        op,
        main: main.clone(),
        if_match: None,
        key: None,
        command,
        first_event_id: ids::of_event(command, 0),
        fresh_id,
        roles: principal.roles,
        metadata: metadata(command, None, None, &principal.name),
        reply: None,
        void_record: None,
        attempt: 0,
        contended_since: None,
        alone: false,
        doubts: Vec::new(),
        places: SmallVec::new(),
    }))
}
