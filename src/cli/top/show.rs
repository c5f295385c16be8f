//! Numbers, for people.

/// A number, short: `12`, `1,234`, `1.20 M`; `–` for none.
pub(super) fn number(value: Option<f64>) -> String {
    let Some(value) = value.filter(|value| value.is_finite()) else { return "–".to_owned() };
    match value.abs() {
        size if size >= 1e9 => format!("{:.2} G", value / 1e9),
        size if size >= 1e6 => format!("{:.2} M", value / 1e6),
        size if size >= 100.0 || value.fract() == 0.0 => grouped(value),
        size if size >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

/// A count, short.
#[allow(clippy::cast_precision_loss)] // It is shortened.
pub(super) fn count(value: u64) -> String {
    number(Some(value as f64))
}

/// The same, of what is in memory.
pub(super) fn size(value: usize) -> String {
    count(value as u64)
}

fn grouped(value: f64) -> String {
    let digits = format!("{value:.0}");
    let mut grouped = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && digits.chars().nth(at - 1) != Some('-') && (digits.len() - at).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// Bytes: `12 B`, `1.5 KiB`.
#[allow(clippy::cast_precision_loss)] // It is shortened.
pub(super) fn bytes(value: u64) -> String {
    let units = [("GiB", 1_u64 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
    match units.into_iter().find(|(_, size)| value >= *size) {
        Some((unit, size)) => format!("{:.1} {unit}", value as f64 / size as f64),
        None => format!("{value} B"),
    }
}

/// A time, in its two largest units.
pub(super) fn time(seconds: f64) -> String {
    let seconds = std::time::Duration::try_from_secs_f64(seconds).unwrap_or_default().as_secs();
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3_600 => format!("{}m{:02}s", seconds / 60, seconds % 60),
        3_600..86_400 => format!("{}h{:02}m", seconds / 3_600, seconds / 60 % 60),
        _ => format!("{}d{:02}h", seconds / 86_400, seconds / 3_600 % 24),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short() {
        for (value, shown) in [
            (0.0, "0"),
            (3.0, "3"),
            (0.123, "0.12"),
            (12.34, "12.3"),
            (999.9, "1,000"),
            (1_234.0, "1,234"),
            (123_456.7, "123,457"),
            (-1_234.0, "-1,234"),
            (1_250_000.0, "1.25 M"),
            (2e9, "2.00 G"),
            (f64::NAN, "–"),
        ] {
            assert_eq!(number(Some(value)), shown);
        }
        assert_eq!(number(None), "–");
        assert_eq!((bytes(0), bytes(1_536), bytes(3 << 30)), ("0 B".into(), "1.5 KiB".into(), "3.0 GiB".into()));
        let times = [0.4, 61.0, 3_660.0, 90_000.0, -1.0, f64::NAN].map(time);
        assert_eq!(times, ["0s", "1m01s", "1h01m", "1d01h", "0s", "0s"]);
    }
}
