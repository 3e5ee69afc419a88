//! Bytes as hexadecimal digits, as people compare them.

/// Two lowercase digits a byte (RFC 4648 section 8).
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
