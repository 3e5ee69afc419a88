//! `net.cidr_*` beyond what the engine has.

use std::net::IpAddr;

use regorus::Value;

use super::{Failure, text};

/// A network: an address and how many of its bits are fixed.
pub(super) struct Network {
    bits: u128,
    /// How many bits an address of its kind has.
    width: u32,
    fixed: u32,
}

impl Network {
    /// Reads `address/length` (RFC 4632 section 3.1, RFC 4291 section 2.3), or an address alone.
    pub(super) fn read(name: &'static str, value: &Value) -> Result<Self, Failure> {
        let text = text(name, value)?;
        let parse = || {
            let (address, length) = match text.split_once('/') {
                Some((address, length)) => (address, Some(length.parse().ok()?)),
                None => (text, None),
            };
            let (bits, width) = match address.parse().ok()? {
                IpAddr::V4(address) => (u128::from(address.to_bits()), 32),
                IpAddr::V6(address) => (address.to_bits(), 128),
            };
            let fixed = length.unwrap_or(width);
            (fixed <= width).then_some(Self { bits, width, fixed })
        };
        parse().ok_or(Failure::Undefined(name, "it is no network"))
    }

    /// How many of its last bits are free.
    pub(super) fn free(&self) -> u32 {
        self.width - self.fixed
    }

    /// Its addresses, lowest first.
    pub(super) fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        let (width, free) = (self.width, self.free());
        let first = self.prefix(self.fixed).checked_shl(free).unwrap_or(0);
        let last = first | u128::MAX.checked_shr(128 - free).unwrap_or(0);
        (first..=last).map(move |bits| match u32::try_from(bits) {
            Ok(bits) if width == 32 => IpAddr::from(bits.to_be_bytes()),
            _ => IpAddr::from(bits.to_be_bytes()),
        })
    }

    fn prefix(&self, length: u32) -> u128 {
        self.bits.checked_shr(self.width - length).unwrap_or(0)
    }
}

pub(super) fn intersects(a: &Value, b: &Value) -> Result<Value, Failure> {
    let name = "net.cidr_intersects";
    let (a, b) = (Network::read(name, a)?, Network::read(name, b)?);
    let common = a.fixed.min(b.fixed);
    let same = a.width == b.width && a.prefix(common) == b.prefix(common);
    Ok(Value::Bool(same))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_meet_where_one_holds_the_other() {
        for (a, b, meet) in [
            ("192.168.1.0/25", "192.168.1.64/25", true),
            ("192.168.1.0/25", "192.168.1.128/25", false),
            ("10.0.0.0/8", "10.1.2.3", true),
            ("0.0.0.0/0", "203.0.113.9/32", true),
            ("2001:db8::/32", "2001:db8:1::/48", true),
            ("::/0", "10.0.0.0/8", false),
        ] {
            let (a, b) = (Value::from(a), Value::from(b));
            assert_eq!(intersects(&a, &b), Ok(Value::Bool(meet)), "{a} {b}");
        }
        for wrong in ["", "10.0.0.0/33", "10.0.0/8", "::/129", "10.0.0.0/"] {
            assert!(intersects(&Value::from(wrong), &Value::from("::/0")).is_err());
        }
    }
}
