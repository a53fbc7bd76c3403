//! The *Online Retail* data set (Dr Daqing Chen, UCI Machine Learning Repository, 2015, <https://doi.org/10.24432/C5BW33>,
//! CC BY 4.0): every line of every invoice of a UK gift retailer over a year.
//!
//! `source` reads the file, `plan` says what each row means and turns it into commands, `run` sends them and accounts for
//! every row. Each command carries an idempotency key made from the row it stands for, so that an import that was killed
//! at any moment is simply started again.
//!
//! What a row means (class, in this order):
//!
//! | row | class | becomes |
//! |---|---|---|
//! | invoice `C…` with a quantity below zero | `credit` | a return and refund of the customer's orders that cover it, latest first; the rest a credit without order |
//! | invoice `A…` | `bad_debt_adjustment` | a bad-debt adjustment |
//! | quantity above zero, and a price above zero or a customer | `order_line` | a line of the order with the invoice's number |
//! | any other | `stock_adjustment` | a stock adjustment with the description as reason |
//!
//! An order line covers a cancelled unit if it was sold at the cancelled price or more, so that no refund exceeds what was
//! paid. Stock that the file takes without having brought it is received once, before everything, as opening stock: per
//! variant exactly what the history lacks.

mod plan;
mod run;
mod source;

pub use run::{ClassReport, ImportError, Options, Report, import};
pub use source::SourceError;

/// Reads and plans a whole file, and sends nothing; gives the number of commands. For fuzzing.
#[doc(hidden)]
pub fn check(bytes: &[u8]) -> Result<usize, SourceError> {
    let source = source::Source::read(bytes)?;
    let mut plan = plan::Plan::new(&source);
    let prologue = plan.prologue().len();
    Ok(prologue + source.rows.iter().map(|row| plan.commands(row).len()).sum::<usize>())
}
