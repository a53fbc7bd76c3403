//! Returns: asked for, and arrived. What a command leaves open is what can only be meant.

use daybook_schemas::order::{Event, LineQuantity, ReturnReceived, ReturnRequested};
use daybook_schemas::{ReturnId, Timestamp};

use super::{Command, Existing, LineState, ReceiveReturn, Received, Rejection, RequestReturn, ReturnState};

impl Existing {
    pub(super) fn request_return(
        &self,
        request: &RequestReturn,
        command: &Command,
    ) -> Result<Vec<Event>, Rejection> {
        let return_id = match &request.return_id {
            Some(id) => id.clone(),
            None => ReturnId::new(command.fresh_id.as_str()).expect("tokens and ids have one alphabet"),
        };
        if let Some(known) = self.return_by_id(&return_id) {
            let same = request.lines.as_ref().is_none_or(|lines| *lines == known.lines);
            return if same { Ok(Vec::new()) } else { Err(Rejection::DuplicateReturn(return_id)) };
        }
        if self.shipments.is_empty() {
            return Err(self.impossible("request-return"));
        }
        let lines = match &request.lines {
            Some(lines) => {
                let too_much = |line, left, asked| Rejection::ReturnsTooMuch { line, left, asked };
                self.check_parts(lines, too_much, returnable)?;
                lines.clone()
            }
            None => self.returnable(),
        };
        if lines.is_empty() {
            return Err(Rejection::NothingToReturn);
        }
        let requested_at = request.requested_at.unwrap_or(command.now);
        Ok(vec![ReturnRequested { return_id, lines, reason: request.reason.clone(), requested_at }.into()])
    }

    /// What was shipped and is not coming back.
    pub(super) fn returnable(&self) -> Vec<LineQuantity> {
        self.what_is_left(returnable)
    }

    pub(super) fn receive_return(
        &self,
        receive: &ReceiveReturn,
        now: Timestamp,
    ) -> Result<Vec<Event>, Rejection> {
        let known = self.return_to_receive(receive)?;
        let return_id = known.return_id.clone();
        match known.received {
            Some(Received { restocked }) if restocked == receive.restock => Ok(Vec::new()),
            Some(_) => Err(Rejection::ReceivedOtherwise(return_id)),
            None => {
                let received_at = receive.received_at.unwrap_or(now);
                Ok(vec![ReturnReceived { return_id, restocked: receive.restock, received_at }.into()])
            }
        }
    }

    /// The return that is meant: the one named, or the only one that has not arrived.
    pub fn return_to_receive(&self, receive: &ReceiveReturn) -> Result<&ReturnState, Rejection> {
        match &receive.return_id {
            Some(id) => self.return_by_id(id).ok_or_else(|| Rejection::NoSuchReturn(id.clone())),
            None => self.only_return(|known| known.received.is_none())?.ok_or(Rejection::NoReturnOnItsWay),
        }
    }

    /// The return that is to be refunded where none is named: the only one that arrived and for which there is something left to
    /// refund.
    pub(super) fn return_to_refund(&self) -> Result<&ReturnState, Rejection> {
        let money_left = |line_id| self.line(line_id).is_some_and(|state| state.refunded != state.line.total);
        let owed = |known: &ReturnState| {
            let parts = known.lines.iter().zip(&known.refunded);
            parts
                .into_iter()
                .any(|(part, refunded)| part.quantity.get() > *refunded && money_left(part.line_id))
        };
        self.only_return(|known| known.received.is_some() && owed(known))?.ok_or(Rejection::RefundOfWhat)
    }

    /// Refuses to choose among several.
    fn only_return(&self, which: impl Fn(&ReturnState) -> bool) -> Result<Option<&ReturnState>, Rejection> {
        let mut found = self.returns.iter().filter(|known| which(known));
        match (found.next(), found.next()) {
            (first, None) => Ok(first),
            (Some(first), Some(second)) => {
                let all = [first, second].into_iter().chain(found);
                Err(Rejection::WhichReturn(all.map(|known| known.return_id.clone()).collect()))
            }
            (None, Some(_)) => Ok(None),
        }
    }
}

const fn returnable(state: &LineState) -> u32 {
    state.shipped.saturating_sub(state.returned)
}
