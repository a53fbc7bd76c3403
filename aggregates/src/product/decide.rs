//! What a product answers to each command.

use daybook_schemas::ProductId;
use daybook_schemas::product::{Event, RulesSet, VariantsGenerated};

use super::{Action, Command, Product, Rejection, SetRules};
use crate::Decider;
use crate::category::check_rules;
use crate::lifecycle::Refused;
use crate::master::table::EDITORS;

type Decision = Result<Vec<Event>, Rejection>;

impl Decider for Product {
    type Action = Action;

    fn decide(&self, command: &Command) -> Decision {
        match &command.action {
            Action::SetRules(set) => self.set_rules(set, command),
            Action::RecordGenerated(record) => Ok(if record.variants.is_empty() {
                Vec::new()
            } else {
                let (variants, left_out) = (record.variants.clone(), record.left_out.clone());
                vec![VariantsGenerated { product_id: record.product_id.clone(), variants, left_out }.into()]
            }),
        }
    }

    fn size_bytes(&self) -> usize {
        let allowed: usize = self.rules.attributes.iter().map(|rule| 48 + rule.allowed.len() * 24).sum();
        size_of::<Self>() + allowed + self.rules.forbidden.len() * 48
    }
}

impl Product {
    fn set_rules(&self, set: &SetRules, command: &Command) -> Decision {
        if !EDITORS.iter().any(|role| command.roles.contains(*role)) {
            return Err(Refused::Forbidden { command: "set-rules", roles: EDITORS }.into());
        }
        check_rules(&set.rules)?;
        if set.rules == self.rules {
            return Ok(Vec::new());
        }
        let product_id = match &set.product_id {
            Some(id) => id.clone(),
            None => ProductId::new(command.fresh_id.as_str())?,
        };
        Ok(vec![RulesSet { product_id, rules: set.rules.clone(), reason: set.reason.clone() }.into()])
    }
}
