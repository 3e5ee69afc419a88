//! How header maps cross the boundary: a count, then the lengths, then the NUL-terminated strings.

/// Header names and values; values need not be UTF-8.
pub type Headers = Vec<(String, Vec<u8>)>;

/// Headers from text.
pub fn headers(pairs: &[(&str, &str)]) -> Headers {
    pairs
        .iter()
        .map(|(name, value)| ((*name).to_owned(), value.as_bytes().to_vec()))
        .collect()
}

/// The first value of a header, as text.
pub fn value<'a>(headers: &'a Headers, name: &str) -> Option<&'a str> {
    let (_, value) = headers
        .iter()
        .find(|(key, _)| key.eq_ignore_ascii_case(name))?;
    std::str::from_utf8(value).ok()
}

pub fn encode(headers: &Headers) -> Vec<u8> {
    let mut bytes = length(headers.len()).to_vec();
    for (name, value) in headers {
        bytes.extend_from_slice(&length(name.len()));
        bytes.extend_from_slice(&length(value.len()));
    }
    for (name, value) in headers {
        for part in [name.as_bytes(), value] {
            bytes.extend_from_slice(part);
            bytes.push(0);
        }
    }
    bytes
}

/// `None` where the bytes are not a header map.
pub fn decode(bytes: &[u8]) -> Option<Headers> {
    if bytes.is_empty() {
        return Some(Headers::new());
    }
    let count = read(bytes, 0)?;
    let mut at = 4 + count * 8;
    let mut headers = Headers::with_capacity(count);
    for entry in 0..count {
        let mut part = |length_at: usize| {
            let length = read(bytes, length_at)?;
            let part = bytes.get(at..at + length)?.to_vec();
            at += length + 1;
            Some(part)
        };
        let name = part(4 + entry * 8)?;
        let value = part(8 + entry * 8)?;
        headers.push((String::from_utf8(name).ok()?, value));
    }
    Some(headers)
}

fn read(bytes: &[u8], at: usize) -> Option<usize> {
    let word: [u8; 4] = bytes.get(at..at + 4)?.try_into().ok()?;
    usize::try_from(u32::from_le_bytes(word)).ok()
}

fn length(length: usize) -> [u8; 4] {
    u32::try_from(length)
        .expect("test values are small")
        .to_le_bytes()
}
