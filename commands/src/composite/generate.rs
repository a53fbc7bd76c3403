//! `product/generate-variants`: every combination of the options' values becomes a variant under the rules, all in one append
//! with their claims, the numbers of their SKUs, the usage counts and the record in the product's stream.
//!
//! A variant's id follows from product and configuration, so a repeat finds what it made and makes nothing twice.

use daybook_aggregates::claim::What;
use daybook_aggregates::master::table::EDITORS;
use daybook_aggregates::product::{
    Action as ProductAction, GenerateVariants, MAX_GENERATED, Mode, Product, RecordGenerated,
};
use daybook_aggregates::sequence::Sequence;
use daybook_aggregates::variant::masters::{Looked, MasterFacts, resolve};
use daybook_aggregates::variant::sku::{self, SkuPlan};
use daybook_aggregates::variant::{
    self, Create, NewAttribute, SkuStrategy, Variant, configuration, derived_id,
};
use daybook_aggregates::{Kind, Refusal};
use daybook_eventlog::StreamId;
use daybook_schemas::product::{Generated, LeftOut};
use daybook_schemas::sequence::{Advanced, Event as SequenceEvent};
use daybook_schemas::variant::{Lifecycle, ReferencesBound, ValueReference};
use daybook_schemas::{CategoryId, ProductId, Sku, Token, VariantId, configuration as canonical};
use hashbrown::{HashMap, HashSet};
use sha2::{Digest, Sha256};

use super::create::{claim, first_free, is_free, may_take};
use super::masters::{count_category, count_type, facts, usage};
use super::{Reasons, refusal};
use crate::error::CommandError;
use crate::workspace::{Halt, Workspace, stream};

pub(crate) struct Generate {
    pub(crate) product_id: ProductId,
    pub(crate) body: GenerateVariants,
}

/// A combination that is to become a variant.
struct Item {
    id: VariantId,
    create: Create,
    hash: String,
    signature: String,
}

pub(crate) fn decide(workspace: &mut Workspace<'_>, main: &StreamId, asked: &Generate) -> Result<(), Halt> {
    let roles = workspace.context.roles;
    if !EDITORS.iter().any(|role| roles.contains(*role)) {
        let detail = "generate-variants needs one of the roles merchandiser, brand_owner, operator";
        return Err(refusal("forbidden", Kind::Forbidden, detail).into());
    }
    let combinations = combinations(&asked.body)?;
    let mut reasons = Told::default();
    let items = items(workspace, asked, &combinations, &mut reasons)?;
    workspace.require(&streams(&items))?;
    let numbered = numbered(workspace, &items)?;
    workspace.require(&numbered)?;
    let mut plan = Plan::default();
    for item in items {
        let signature = item.signature.clone();
        let outcome = plan.add(workspace, item);
        reasons.collect(outcome, &signature)?;
    }
    let left_out = match asked.body.mode {
        Mode::AllOrNothing => reasons.refuse().map(|()| Vec::new())?,
        Mode::Each if plan.ready.is_empty() && plan.there == 0 => reasons.refuse().map(|()| Vec::new())?,
        Mode::Each => reasons.left_out,
    };
    write(workspace, main, asked, plan, left_out)
}

/// Reasons against combinations, for a refusal and for the record.
#[derive(Default)]
struct Told {
    reasons: Reasons,
    left_out: Vec<LeftOut>,
}

impl Told {
    fn collect<T>(&mut self, outcome: Result<T, Halt>, signature: &str) -> Result<Option<T>, Halt> {
        if let Err(Halt::Refused(CommandError::Refused(refusal))) = &outcome {
            // A combination may have several reasons: each of them is told.
            let mut told = |code: &str, detail: &str| {
                let (code, detail) = (code.to_owned(), detail.to_owned());
                self.left_out.push(LeftOut { signature: signature.to_owned(), code, detail });
            };
            if refusal.errors.is_empty() {
                told(refusal.code, &refusal.detail);
            } else {
                refusal.errors.iter().for_each(|error| told(error.code, &error.detail));
            }
            for error in refusal.errors.iter().skip(1) {
                let other = Refusal {
                    code: error.code,
                    kind: refusal.kind,
                    detail: error.detail.clone(),
                    errors: vec![],
                };
                self.reasons.add(other, signature);
            }
        }
        self.reasons.collect(outcome, signature)
    }

    fn refuse(self) -> Result<(), Halt> {
        self.reasons.check()
    }
}

/// The attributes of every combination, in the order of the options, the last option's values fastest.
fn combinations(body: &GenerateVariants) -> Result<Vec<Vec<NewAttribute>>, Halt> {
    let invalid = |detail: String| -> Halt { refusal("invalid_request", Kind::Invalid, detail).into() };
    if matches!(body.sku, SkuStrategy::Manual { .. }) {
        return Err(invalid("a given SKU can't serve several variants: use auto or template".to_owned()));
    }
    if body.options.is_empty() {
        return Err(invalid("there is at least one option".to_owned()));
    }
    let mut count: usize = 1;
    for (at, option) in body.options.iter().enumerate() {
        let twice = body.options[..at].iter().any(|other| other.kind == option.kind)
            || body.attributes.iter().any(|attribute| attribute.kind == option.kind);
        if twice {
            return Err(invalid(format!("the attribute {} is given twice", option.kind)));
        }
        count = count.saturating_mul(option.values.len());
    }
    if count == 0 || count > MAX_GENERATED {
        return Err(invalid(format!(
            "the options give {count} combinations: 1 to {MAX_GENERATED} are possible"
        )));
    }
    let mut all = vec![body.attributes.clone()];
    for option in &body.options {
        all = all
            .iter()
            .flat_map(|start| {
                option.values.iter().map(|value| {
                    let mut attributes = start.clone();
                    attributes.push(value.of_type(&option.kind));
                    attributes
                })
            })
            .collect();
    }
    Ok(all)
}

/// Every combination with its master data; those that break a rule are told and left out.
fn items(
    workspace: &mut Workspace<'_>,
    asked: &Generate,
    combinations: &[Vec<NewAttribute>],
    reasons: &mut Told,
) -> Result<Vec<Item>, Halt> {
    let Generate { product_id, body } = asked;
    let template = base(product_id, body);
    workspace.require(&facts::first_streams(&Create {
        attributes: combinations[0].clone(),
        ..template.clone()
    }))?;
    let mut common = facts::common(workspace, product_id, &body.category, &body.brand)?;
    let values = Values::look_up(workspace, combinations, &mut common)?;
    let shared_limits = common.limits.len();
    let mut items: Vec<Item> = Vec::with_capacity(combinations.len());
    let mut seen = HashSet::new();
    for attributes in combinations {
        common.limits.truncate(shared_limits);
        common.values = values.of(attributes, &mut common.limits);
        let create = Create { attributes: attributes.clone(), ..template.clone() };
        let signature = signature(&create);
        let resolved = resolve(&create, &common).accepted().map_err(Refusal::from).map_err(Halt::from);
        let Some(mut create) = reasons.collect(resolved, &signature)? else { continue };
        let (_, hash) = configuration(&create).map_err(Refusal::from)?;
        if !seen.insert(hash.clone()) {
            let twice = refusal(
                "duplicate_configuration",
                Kind::Conflict,
                "the options give this configuration twice",
            );
            reasons.collect::<()>(Err(twice.into()), &signature)?;
            continue;
        }
        let id = derived_id(product_id, &hash);
        create.variant_id = Some(id.clone());
        items.push(Item { id, create, hash, signature });
    }
    Ok(items)
}

fn base(product_id: &ProductId, body: &GenerateVariants) -> Create {
    Create {
        product_id: product_id.clone(),
        product_group: body.product_group.clone(),
        name: body.name.clone(),
        brand: body.brand.clone(),
        category: body.category.clone(),
        attributes: Vec::new(),
        price: body.price.clone(),
        sku: body.sku.clone(),
        channels: body.channels.clone(),
        regions: body.regions.clone(),
        description: body.description.clone(),
        created_at: None,
        lifecycle: None,
        history: None,
        variant_id: None,
        resolved_sku: None,
        references: None,
    }
}

fn signature(create: &Create) -> String {
    canonical::signature(create.attributes.iter().map(|own| (own.kind.as_str(), own.value.as_str())))
}

/// What every value of the options was found to be, looked up once.
struct Values {
    found: HashMap<(Token, String), (Looked, Vec<variant::masters::Limit>)>,
}

impl Values {
    fn look_up(
        workspace: &mut Workspace<'_>,
        combinations: &[Vec<NewAttribute>],
        common: &mut MasterFacts,
    ) -> Result<Self, Halt> {
        let mut distinct = Vec::new();
        let mut seen = HashSet::new();
        for attribute in combinations.iter().flatten() {
            if seen.insert(key(attribute)) {
                distinct.push(attribute);
            }
        }
        let mut types = HashMap::new();
        for attribute in &distinct {
            if !types.contains_key(&attribute.kind) {
                let of = facts::type_in_force(workspace, &attribute.kind, &mut common.limits)?;
                types.insert(attribute.kind.clone(), of);
            }
        }
        // Looked at one by one, each would be waited for before the next, and everything before it decided again.
        let all: Vec<_> = distinct.iter().map(|attribute| (*attribute, &types[&attribute.kind])).collect();
        facts::require_values(workspace, &all)?;
        let mut found = HashMap::new();
        for (attribute, of) in all {
            let mut limits = Vec::new();
            let looked = facts::look_up(workspace, attribute, of, &mut limits)?;
            found.insert(key(attribute), (looked, limits));
        }
        Ok(Self { found })
    }

    fn of(&self, attributes: &[NewAttribute], limits: &mut Vec<variant::masters::Limit>) -> Vec<Looked> {
        let of = |attribute: &NewAttribute| &self.found[&key(attribute)];
        limits.extend(attributes.iter().flat_map(|attribute| of(attribute).1.iter().cloned()));
        attributes.iter().map(|attribute| of(attribute).0.clone()).collect()
    }
}

fn key(attribute: &NewAttribute) -> (Token, String) {
    let id = attribute.value_id.as_ref().map_or("", |id| id.as_str());
    (attribute.kind.clone(), format!("{id}|{}", attribute.value))
}

/// The streams that the variants need, to be read at once.
fn streams(items: &[Item]) -> Vec<StreamId> {
    let mut streams = Vec::with_capacity(items.len() * 3);
    for item in items {
        streams.push(stream::variant(&item.id));
        streams.push(stream::claim(What::Config, &item.hash));
        match sku::plan(&item.create) {
            Ok(SkuPlan::Fixed(sku)) => streams.push(stream::claim(What::Sku, sku.as_str())),
            Ok(SkuPlan::NeedsSequence(name)) => streams.push(stream::sequence(name.as_str())),
            // One that the template can't fill is refused when its turn comes, with its reason.
            Err(_) => {}
        }
    }
    streams.sort_unstable();
    streams.dedup();
    streams
}

/// The claims on SKUs with a number, if each item draws the next one: one read for all, and one more for each that was taken by hand.
fn numbered(workspace: &mut Workspace<'_>, items: &[Item]) -> Result<Vec<StreamId>, Halt> {
    let mut last: HashMap<Token, u64> = HashMap::new();
    let mut claims = Vec::new();
    for item in items {
        if let Ok(SkuPlan::NeedsSequence(name)) = sku::plan(&item.create) {
            let drawn = workspace.peek::<Sequence>(&stream::sequence(name.as_str()))?.last;
            let number = last.entry(name).or_insert(drawn);
            *number = number.saturating_add(1);
            // One that can't be made is refused when its turn comes, with its reason.
            if let Ok(sku) = sku::with_number(&item.create, *number) {
                claims.push(stream::claim(What::Sku, sku.as_str()));
            }
        }
    }
    Ok(claims)
}

/// What is to be written.
#[derive(Default)]
struct Plan {
    ready: Vec<(Item, Sku)>,
    /// Combinations whose variant is there already.
    there: usize,
    skus: HashSet<Sku>,
    /// The last number used of each sequence.
    numbers: HashMap<Token, u64>,
}

impl Plan {
    /// Finds a SKU for the item and decides its creation. One that is there already is left alone; one that was archived is made
    /// anew, under another id.
    fn add(&mut self, workspace: &mut Workspace<'_>, mut item: Item) -> Result<(), Halt> {
        let mut hash = item.hash.clone();
        while is_archived(workspace, &item)? {
            hash = canonical::hex(&Sha256::digest(hash.as_bytes()));
            item.id = derived_id(&item.create.product_id, &hash);
            item.create.variant_id = Some(item.id.clone());
        }
        if let Some(existing) = workspace.peek::<Variant>(&stream::variant(&item.id))?.existing() {
            if existing.config_hash == item.hash {
                self.there += 1;
                return Ok(());
            }
            let detail = format!("variant {} exists already, with another configuration", item.id);
            return Err(refusal("duplicate_variant", Kind::Conflict, detail).into());
        }
        let config = stream::claim(What::Config, &item.hash);
        if !may_take(workspace, &config, What::Config, &item.id)? {
            let owner = workspace.peek::<daybook_aggregates::claim::Claim>(&config)?.owner.clone();
            let owner = owner.map_or_else(String::new, |owner| owner.to_string());
            let detail = format!("variant {owner} has the same configuration ({})", item.hash);
            return Err(refusal("duplicate_configuration", Kind::Conflict, detail).into());
        }
        let sku = self.sku(workspace, &item)?;
        item.create.resolved_sku = Some(sku.clone());
        let create = variant::Action::Create(Box::new(item.create.clone()));
        let command = workspace.context.command(create);
        workspace.decide::<Variant>(&stream::variant(&item.id), &command)?;
        self.skus.insert(sku.clone());
        self.ready.push((item, sku));
        Ok(())
    }

    fn sku(&mut self, workspace: &mut Workspace<'_>, item: &Item) -> Result<Sku, Halt> {
        match sku::plan(&item.create).map_err(Refusal::from)? {
            SkuPlan::Fixed(mut sku) => {
                while self.skus.contains(&sku) || !is_free(workspace, &sku, &item.id)? {
                    match sku::longer(&item.create, &sku) {
                        Some(longer) => sku = longer,
                        None => return Err(taken(format!("SKU {sku} is taken"))),
                    }
                }
                Ok(sku)
            }
            SkuPlan::NeedsSequence(name) => {
                let last = match self.numbers.get(&name) {
                    Some(last) => *last,
                    None => workspace.peek::<Sequence>(&stream::sequence(name.as_str()))?.last,
                };
                let next = last.saturating_add(1);
                let (sku, number) = first_free(workspace, &item.create, next, |workspace, sku| {
                    Ok(!self.skus.contains(sku) && is_free(workspace, sku, &item.id)?)
                })?;
                self.numbers.insert(name, number);
                Ok(sku)
            }
        }
    }
}

/// Whether the item's id is that of an archived variant of the same configuration.
fn is_archived(workspace: &mut Workspace<'_>, item: &Item) -> Result<bool, Halt> {
    let existing = workspace.peek::<Variant>(&stream::variant(&item.id))?.existing();
    Ok(existing.is_some_and(|own| own.lifecycle == Lifecycle::Archived && own.config_hash == item.hash))
}

fn taken(detail: String) -> Halt {
    refusal("duplicate_sku", Kind::Conflict, detail).into()
}

/// Claims, numbers, usage counts and the record. Nothing is refused from here on: all of it was looked at before.
fn write(
    workspace: &mut Workspace<'_>,
    main: &StreamId,
    asked: &Generate,
    plan: Plan,
    left_out: Vec<LeftOut>,
) -> Result<(), Halt> {
    let mut categories: HashMap<CategoryId, i64> = HashMap::new();
    let mut values: HashMap<ValueReference, i64> = HashMap::new();
    let mut types: HashMap<Token, i64> = HashMap::new();
    let mut variants = Vec::with_capacity(plan.ready.len());
    for (item, sku) in plan.ready {
        let config = stream::claim(What::Config, &item.hash);
        claim(workspace, &config, What::Config, item.hash, &item.id)?;
        claim(workspace, &stream::claim(What::Sku, sku.as_str()), What::Sku, sku.to_string(), &item.id)?;
        if let Some(ReferencesBound { category_id, values: bound, attribute_types }) =
            item.create.references.map(|own| *own)
        {
            if let Some(id) = category_id {
                *categories.entry(id).or_default() += 1;
            }
            for reference in bound {
                *values.entry(reference).or_default() += 1;
            }
            for id in attribute_types {
                *types.entry(id).or_default() += 1;
            }
        }
        variants.push(Generated { variant_id: item.id, sku, signature: item.signature });
    }
    let mut numbers: Vec<_> = plan.numbers.into_iter().collect();
    numbers.sort_unstable();
    for (name, last) in numbers {
        let sequence = stream::sequence(name.as_str());
        workspace.note(&sequence, [SequenceEvent::from(Advanced { name, last }).into()]);
    }
    let mut categories: Vec<_> = categories.into_iter().collect();
    categories.sort_unstable();
    for (id, count) in categories {
        count_category(workspace, &id, count)?;
    }
    let mut values: Vec<_> = values.into_iter().collect();
    values.sort_unstable();
    for (reference, count) in values {
        usage::count_value(workspace, &reference, count)?;
    }
    let mut types: Vec<_> = types.into_iter().collect();
    types.sort_unstable();
    for (id, count) in types {
        count_type(workspace, &stream::of("attribute_type", &id), count)?;
    }
    let record = RecordGenerated { product_id: asked.product_id.clone(), variants, left_out };
    let command = workspace.context.command(ProductAction::RecordGenerated(record));
    workspace.decide::<Product>(main, &command).map(|_| ())
}
