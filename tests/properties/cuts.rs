//! A stream as it arrives: in pieces.

/// `bytes` in pieces of these sizes, over and over; a size of 0 is a wake-up that brings nothing. Without sizes,
/// the whole at once.
pub(crate) fn pieces<'b>(bytes: &'b [u8], sizes: &[usize]) -> Vec<&'b [u8]> {
    let mut rest = bytes;
    let mut pieces = Vec::new();
    for size in sizes.iter().copied().cycle() {
        if rest.is_empty() {
            return pieces;
        }
        if size == 0 {
            pieces.push(&rest[..0]);
        }
        let (piece, left) = rest.split_at(size.clamp(1, rest.len()));
        pieces.push(piece);
        rest = left;
    }
    vec![bytes]
}
