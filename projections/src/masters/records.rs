//! The rows of sizes, colours, attribute types, attribute values and categories, and how each folds its events.

use daybook_eventlog::RecordedEvent;
use daybook_schemas::attribute_type::{AllowedValues, DataType};
use daybook_schemas::color::{Tone, VisualCategory};
use daybook_schemas::rules::CombinationRules;
use daybook_schemas::size::{Conversions, Gender, Region};
use daybook_schemas::variant::HexColor;
use daybook_schemas::{
    CategoryId, Label, Slug, Text, Token, ValueId, attribute_type, attribute_value, category, color, size,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::views::{
    CATEGORIES, COLORS, Governance, Record, SIZES, TYPES, VALUES, apply_shared, set, set_option,
};
use crate::rows::{IndexValue, TableSpec, View};

/// A size.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SizeView {
    pub size_id: ValueId,
    pub category: Token,
    pub gender: Gender,
    pub region: Region,
    pub value: Label,
    pub display_name: Label,
    pub conversions: Conversions,
    pub rank: i32,
    #[serde(flatten)]
    pub governance: Governance,
}

impl View for SizeView {
    const TABLE: &'static TableSpec = &SIZES;

    fn index(&self) -> Vec<IndexValue> {
        vec![self.category.as_str().into(), i64::from(self.rank).into()]
    }
}

impl Record for SizeView {
    type Event = size::Event;
    const PREFIX: &'static str = "size-";

    fn created(event: &size::Event, recorded: &RecordedEvent) -> Option<Self> {
        let size::Event::Created(event) = event else { return None };
        Some(Self {
            size_id: event.size_id.clone(),
            category: event.category.clone(),
            gender: event.gender,
            region: event.region,
            value: event.value.clone(),
            display_name: event.display_name.clone(),
            conversions: event.conversions.clone(),
            rank: event.rank,
            governance: Governance::new(recorded),
        })
    }

    fn apply(&mut self, event: &size::Event, recorded: &RecordedEvent) {
        apply_shared!(self, size, event, recorded, {
            size::Event::Changed(event) => {
                set(&mut self.display_name, event.display_name.as_ref());
                set(&mut self.conversions, event.conversions.as_ref());
                set(&mut self.rank, event.rank.as_ref());
            }
        });
    }

    fn governance(&mut self) -> &mut Governance {
        &mut self.governance
    }
}

/// A colour.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ColorView {
    pub color_id: ValueId,
    pub slug: Slug,
    /// Oldest first; they still lead here.
    pub previous_slugs: Vec<Slug>,
    pub name: Label,
    #[serde(flatten)]
    pub tone: Tone,
    pub visual_category: VisualCategory,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub family: Option<Label>,
    /// The one brand that may use it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub brand: Option<Label>,
    #[serde(flatten)]
    pub governance: Governance,
}

impl View for ColorView {
    const TABLE: &'static TableSpec = &COLORS;

    fn index(&self) -> Vec<IndexValue> {
        vec![self.family.as_ref().map(|family| family.as_str()).into()]
    }
}

impl Record for ColorView {
    type Event = color::Event;
    const PREFIX: &'static str = "color-";

    fn created(event: &color::Event, recorded: &RecordedEvent) -> Option<Self> {
        let color::Event::Created(event) = event else { return None };
        Some(Self {
            color_id: event.color_id.clone(),
            slug: event.slug.clone(),
            previous_slugs: Vec::new(),
            name: event.name.clone(),
            tone: event.tone.clone(),
            visual_category: event.visual_category,
            family: event.family.clone(),
            brand: event.brand.clone(),
            governance: Governance::new(recorded),
        })
    }

    fn apply(&mut self, event: &color::Event, recorded: &RecordedEvent) {
        apply_shared!(self, color, event, recorded, {
            color::Event::Changed(event) => {
                set(&mut self.name, event.name.as_ref());
                set(&mut self.tone, event.tone.as_ref());
                set(&mut self.visual_category, event.visual_category.as_ref());
                set_option(&mut self.family, event.family.as_ref());
            }
            color::Event::SlugChanged(event) => {
                self.previous_slugs.retain(|slug| *slug != event.slug);
                self.previous_slugs.push(event.previous.clone());
                self.slug = event.slug.clone();
            }
            color::Event::ProtectionChanged(event) => self.brand = event.brand.clone(),
        });
    }

    fn governance(&mut self) -> &mut Governance {
        &mut self.governance
    }
}

/// An attribute type.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct AttributeTypeView {
    pub attribute_type_id: Token,
    pub code: Token,
    pub name: Label,
    pub data_type: DataType,
    pub allowed: AllowedValues,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<Label>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<Text>,
    /// Empty: everywhere.
    pub channels: Vec<Token>,
    /// Empty: everywhere.
    pub regions: Vec<Token>,
    /// The number of the definition that holds.
    pub definition: u32,
    #[serde(flatten)]
    pub governance: Governance,
}

impl View for AttributeTypeView {
    const TABLE: &'static TableSpec = &TYPES;

    fn index(&self) -> Vec<IndexValue> {
        vec![self.code.as_str().into()]
    }
}

impl Record for AttributeTypeView {
    type Event = attribute_type::Event;
    const PREFIX: &'static str = "attribute_type-";

    fn created(event: &attribute_type::Event, recorded: &RecordedEvent) -> Option<Self> {
        let attribute_type::Event::Created(event) = event else { return None };
        Some(Self {
            attribute_type_id: event.attribute_type_id.clone(),
            code: event.code.clone(),
            name: event.name.clone(),
            data_type: event.data_type,
            allowed: event.allowed.clone(),
            unit: event.unit.clone(),
            description: event.description.clone(),
            channels: event.channels.clone(),
            regions: event.regions.clone(),
            definition: 1,
            governance: Governance::new(recorded),
        })
    }

    fn apply(&mut self, event: &attribute_type::Event, recorded: &RecordedEvent) {
        apply_shared!(self, attribute_type, event, recorded, {
            attribute_type::Event::Changed(event) => {
                self.definition = event.definition;
                set(&mut self.name, event.name.as_ref());
                set(&mut self.allowed, event.allowed.as_ref());
                set_option(&mut self.unit, event.unit.as_ref());
                set_option(&mut self.description, event.description.as_ref());
            }
            attribute_type::Event::SegmentationChanged(event) => {
                self.channels.clone_from(&event.channels);
                self.regions.clone_from(&event.regions);
            }
        });
    }

    fn governance(&mut self) -> &mut Governance {
        &mut self.governance
    }
}

/// An attribute value.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct AttributeValueView {
    pub attribute_value_id: ValueId,
    pub attribute_type_id: Token,
    /// The code of the type.
    #[serde(rename = "type")]
    pub kind: Token,
    pub value: Label,
    pub display_name: Label,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hex: Option<HexColor>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rank: Option<i32>,
    /// Empty: everywhere.
    pub channels: Vec<Token>,
    /// Empty: everywhere.
    pub regions: Vec<Token>,
    /// The number of the definition that holds.
    pub definition: u32,
    #[serde(flatten)]
    pub governance: Governance,
}

impl View for AttributeValueView {
    const TABLE: &'static TableSpec = &VALUES;

    fn index(&self) -> Vec<IndexValue> {
        vec![self.kind.as_str().into()]
    }
}

impl Record for AttributeValueView {
    type Event = attribute_value::Event;
    const PREFIX: &'static str = "attribute_value-";

    fn created(event: &attribute_value::Event, recorded: &RecordedEvent) -> Option<Self> {
        let attribute_value::Event::Created(event) = event else { return None };
        Some(Self {
            attribute_value_id: event.attribute_value_id.clone(),
            attribute_type_id: event.attribute_type_id.clone(),
            kind: event.kind.clone(),
            value: event.value.clone(),
            display_name: event.display_name.clone(),
            hex: event.hex.clone(),
            rank: event.rank,
            channels: event.channels.clone(),
            regions: event.regions.clone(),
            definition: 1,
            governance: Governance::new(recorded),
        })
    }

    fn apply(&mut self, event: &attribute_value::Event, recorded: &RecordedEvent) {
        apply_shared!(self, attribute_value, event, recorded, {
            attribute_value::Event::Changed(event) => {
                self.definition = event.definition;
                set(&mut self.display_name, event.display_name.as_ref());
                set_option(&mut self.hex, event.hex.as_ref());
                set_option(&mut self.rank, event.rank.as_ref());
            }
            attribute_value::Event::SegmentationChanged(event) => {
                self.channels.clone_from(&event.channels);
                self.regions.clone_from(&event.regions);
            }
        });
    }

    fn governance(&mut self) -> &mut Governance {
        &mut self.governance
    }
}

/// A category.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CategoryView {
    pub category_id: CategoryId,
    pub slug: Slug,
    /// Oldest first; they still lead here.
    pub previous_slugs: Vec<Slug>,
    pub name: Label,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<Text>,
    /// None: a root.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent_id: Option<CategoryId>,
    /// The slugs from the root to here, joined by `/`.
    pub path: String,
    /// 0 for a root.
    pub depth: u8,
    pub attribute_schema: CombinationRules,
    /// Empty: everywhere.
    pub channels: Vec<Token>,
    /// Empty: everywhere.
    pub regions: Vec<Token>,
    /// How many hang right below it.
    pub children: u64,
    #[serde(flatten)]
    pub governance: Governance,
}

impl View for CategoryView {
    const TABLE: &'static TableSpec = &CATEGORIES;

    fn index(&self) -> Vec<IndexValue> {
        vec![self.parent_id.as_ref().map(|id| id.as_str()).into(), self.path.as_str().into()]
    }
}

impl Record for CategoryView {
    type Event = category::Event;
    const PREFIX: &'static str = "category-";

    fn created(event: &category::Event, recorded: &RecordedEvent) -> Option<Self> {
        let category::Event::Created(event) = event else { return None };
        Some(Self {
            category_id: event.category_id.clone(),
            slug: event.slug.clone(),
            previous_slugs: Vec::new(),
            name: event.name.clone(),
            description: event.description.clone(),
            parent_id: event.parent_id.clone(),
            path: event.path.clone(),
            depth: event.depth,
            attribute_schema: event.attribute_schema.clone(),
            channels: event.channels.clone(),
            regions: event.regions.clone(),
            children: 0,
            governance: Governance::new(recorded),
        })
    }

    fn apply(&mut self, event: &category::Event, recorded: &RecordedEvent) {
        apply_shared!(self, category, event, recorded, {
            category::Event::Changed(event) => {
                set(&mut self.name, event.name.as_ref());
                set_option(&mut self.description, event.description.as_ref());
            }
            category::Event::SchemaChanged(event) => self.attribute_schema = event.attribute_schema.clone(),
            category::Event::SegmentationChanged(event) => {
                self.channels.clone_from(&event.channels);
                self.regions.clone_from(&event.regions);
            }
            category::Event::SlugChanged(event) => {
                self.previous_slugs.retain(|slug| *slug != event.slug);
                self.previous_slugs.push(event.previous.clone());
                self.slug = event.slug.clone();
                self.path.clone_from(&event.path);
            }
            category::Event::Moved(event) => {
                self.parent_id.clone_from(&event.to_parent);
                self.path.clone_from(&event.path);
                self.depth = event.depth;
            }
            category::Event::PathChanged(event) => {
                self.path.clone_from(&event.path);
                self.depth = event.depth;
            }
            category::Event::ChildAdded(_) => self.children += 1,
            category::Event::ChildRemoved(_) => self.children = self.children.saturating_sub(1),
        });
    }

    fn governance(&mut self) -> &mut Governance {
        &mut self.governance
    }
}
