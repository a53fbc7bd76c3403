//! Any bytes as an import file, plain or gzip: rows or a clear error, never a panic.
#![no_main]

use daybook_replay::import::online_retail;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let _ = online_retail::check(bytes);
    let mut with_header =
        b"InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country\n".to_vec();
    with_header.extend_from_slice(bytes);
    let _ = online_retail::check(&with_header[..]);
});
