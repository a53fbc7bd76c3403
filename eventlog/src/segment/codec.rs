//! Little-endian numbers in byte slices, and checked narrowing for lengths that the format bounds.

/// Reads a `u16` at `at`. The caller has checked the length.
pub(crate) fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes(array_at(bytes, at))
}

/// Reads a `u32` at `at`. The caller has checked the length.
pub(crate) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(array_at(bytes, at))
}

/// Reads a `u64` at `at`. The caller has checked the length.
pub(crate) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(array_at(bytes, at))
}

/// Copies an array out of `bytes`. The caller has checked the length.
pub(crate) fn array_at<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    bytes[at..at + N].try_into().expect("the slice has the length of the array")
}

/// A length as stored in the format; appends are bounded far below 4 GiB.
pub(crate) fn len_u32(length: usize) -> u32 {
    u32::try_from(length).expect("the format bounds lengths below 4 GiB")
}

/// A file offset or a count as an index into memory; the targets are 64-bit.
pub(crate) fn index(value: u64) -> usize {
    usize::try_from(value).expect("a 64-bit target")
}

/// Appends `value` in 7-bit groups, lowest first (LEB128).
pub(crate) fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(u8::try_from(value & 0x7f).expect("7 bits") | 0x80);
        value >>= 7;
    }
    out.push(u8::try_from(value).expect("7 bits"));
}

/// Reads a varint at `*at` and moves on; `None` if it is cut off or too long.
pub(crate) fn take_varint(bytes: &[u8], at: &mut usize) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let byte = *bytes.get(*at)?;
        *at += 1;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}
