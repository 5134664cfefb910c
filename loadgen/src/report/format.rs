//! Numbers for people: few digits, and the unit that makes them short.

/// A count with separators: `1,234,567`; up to two decimals below 100.
pub fn plain(value: f64) -> String {
    match value.abs() {
        _ if !value.is_finite() => "–".to_owned(),
        size if size >= 1000.0 => grouped(value.round() as i64),
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => trimmed(format!("{value:.1}")),
        size if size >= 0.01 || size == 0.0 => trimmed(format!("{value:.2}")),
        _ => trimmed(format!("{value:.4}")),
    }
}

/// A number for an axis: `250`, `20 k`, `1.5 M`.
pub fn short(value: f64) -> String {
    let (scaled, unit) = match value.abs() {
        size if size >= 1e9 => (value / 1e9, " G"),
        size if size >= 1e6 => (value / 1e6, " M"),
        size if size >= 1e4 => (value / 1e3, " k"),
        _ => return plain(value),
    };
    format!("{}{unit}", plain(scaled))
}

/// A time given in microseconds, with three digits: `850 ns`, `85.0 µs`, `1.25 ms`, `2.30 s`.
pub fn time(us: f64) -> String {
    let (scaled, unit) = in_unit(us);
    if scaled.is_finite() { format!("{} {unit}", three_digits(scaled)) } else { "–".to_owned() }
}

/// A round time for an axis: `85 µs`, `2 s`.
pub fn round_time(us: f64) -> String {
    let (scaled, unit) = in_unit(us);
    format!("{} {unit}", trimmed(three_digits(scaled)))
}

fn in_unit(us: f64) -> (f64, &'static str) {
    match us {
        us if us >= 999_500.0 => (us / 1e6, "s"),
        us if us >= 999.5 => (us / 1e3, "ms"),
        us if us >= 1.0 || us == 0.0 => (us, "µs"),
        us => (us * 1e3, "ns"),
    }
}

/// A ratio with three decimals, because readers compare it with its neighbours.
pub fn ratio(value: f64) -> String {
    if value.is_finite() { format!("{value:.3}") } else { "–".to_owned() }
}

/// Bytes in powers of ten: `123 MB`.
pub fn bytes(value: f64) -> String {
    let (scaled, unit) = match value {
        size if size >= 1e9 => (value / 1e9, "GB"),
        size if size >= 1e6 => (value / 1e6, "MB"),
        size if size >= 1e4 => (value / 1e3, "kB"),
        _ => (value, "B"),
    };
    format!("{} {unit}", plain(scaled))
}

fn three_digits(value: f64) -> String {
    let digits = match value.abs() {
        0.0 => 0,
        size if size >= 99.95 => 0,
        size if size >= 9.995 => 1,
        _ => 2,
    };
    format!("{value:.digits$}")
}

/// The number without zeros at the end of its fraction.
fn trimmed(text: String) -> String {
    if !text.contains('.') {
        return text;
    }
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

fn grouped(value: i64) -> String {
    let digits = value.unsigned_abs().to_string();
    let mut text = if value < 0 { "-".to_owned() } else { String::new() };
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Numbers take the unit that makes them short, and no superfluous digits.
    #[test]
    fn units_and_digits() {
        assert_eq!(
            [0.0, 0.5, 12.34, 123.4, 1234567.0, -1234.0].map(plain),
            ["0", "0.5", "12.3", "123", "1,234,567", "-1,234"]
        );
        assert_eq!([0.0, 9999.0, 20_000.0, 1_500_000.0].map(short), ["0", "9,999", "20 k", "1.5 M"]);
        assert_eq!(
            [0.0, 0.85, 85.04, 850.0, 1250.0, 12_345.0, 2_300_000.0].map(time),
            ["0 µs", "850 ns", "85.0 µs", "850 µs", "1.25 ms", "12.3 ms", "2.30 s"]
        );
        assert_eq!([999.6, 999_600.0].map(time), ["1.00 ms", "1.00 s"]);
        assert_eq!([85.0, 2_000_000.0].map(round_time), ["85 µs", "2 s"]);
        assert_eq!([512.0, 123_456_789.0].map(bytes), ["512 B", "123 MB"]);
        assert_eq!((plain(f64::NAN), time(f64::NAN), ratio(2.0)), ("–".into(), "–".into(), "2.000".into()));
    }
}
