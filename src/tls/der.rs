//! DER, written: tag, length, contents.

/// One value whose tag is one byte.
pub(super) fn value(tag: u8, contents: &[u8]) -> Vec<u8> {
    let mut der = vec![tag];
    let length = contents.len();
    if let Ok(short @ 0..0x80) = u8::try_from(length) {
        der.push(short);
    } else {
        let bytes = length.to_be_bytes();
        let bytes = &bytes[bytes.iter().take_while(|byte| **byte == 0).count()..];
        der.push(0x80 | bytes.len() as u8);
        der.extend(bytes);
    }
    der.extend(contents);
    der
}

#[cfg(test)]
mod tests {
    use super::value;

    /// Lengths are in the shortest form.
    #[test]
    fn lengths() {
        assert_eq!(value(4, &[]), [4, 0]);
        assert_eq!(value(4, &[7; 127])[..2], [4, 127]);
        assert_eq!(value(4, &[7; 128])[..3], [4, 0x81, 128]);
        assert_eq!(value(0x30, &[7; 256])[..4], [0x30, 0x82, 1, 0]);
    }
}
