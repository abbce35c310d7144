//! The `strftime_now` function: some templates put today's date into the system turn.

use minijinja::{Error, ErrorKind};
use std::fmt::Write as _;
use std::time::{SystemTime, UNIX_EPOCH};

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const DAYS: [&str; 7] = ["Thursday", "Friday", "Saturday", "Sunday", "Monday", "Tuesday", "Wednesday"];

/// The present moment in Coordinated Universal Time, in the directives of C's `strftime`.
pub(super) fn strftime_now(format: &str) -> Result<String, Error> {
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |elapsed| elapsed.as_secs());
    strftime(format, seconds)
}

/// `seconds` since 1970 in the directives `Y y m d e B b A a H I M S p j F T %`.
fn strftime(format: &str, seconds: u64) -> Result<String, Error> {
    let days = seconds / 86_400;
    let (year, month, day, day_of_year) = civil(days);
    let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    let month_name = MONTHS[month as usize - 1];
    let day_name = DAYS[(days % 7) as usize];
    let mut out = String::new();
    let mut characters = format.chars();
    while let Some(character) = characters.next() {
        if character != '%' {
            out.push(character);
            continue;
        }
        let directive = characters.next();
        match directive {
            Some('Y') => write!(out, "{year:04}"),
            Some('y') => write!(out, "{:02}", year % 100),
            Some('m') => write!(out, "{month:02}"),
            Some('d') => write!(out, "{day:02}"),
            Some('e') => write!(out, "{day:2}"),
            Some('B') => write!(out, "{month_name}"),
            Some('b') => write!(out, "{}", &month_name[..3]),
            Some('A') => write!(out, "{day_name}"),
            Some('a') => write!(out, "{}", &day_name[..3]),
            Some('H') => write!(out, "{hour:02}"),
            Some('I') => write!(out, "{:02}", (hour + 11) % 12 + 1),
            Some('M') => write!(out, "{minute:02}"),
            Some('S') => write!(out, "{second:02}"),
            Some('p') => write!(out, "{}", if hour < 12 { "AM" } else { "PM" }),
            Some('j') => write!(out, "{day_of_year:03}"),
            Some('F') => write!(out, "{year:04}-{month:02}-{day:02}"),
            Some('T') => write!(out, "{hour:02}:{minute:02}:{second:02}"),
            Some('%') => write!(out, "%"),
            other => {
                let directive = other.map_or_else(|| "%".to_owned(), |letter| format!("%{letter}"));
                return Err(Error::new(
                    ErrorKind::InvalidOperation,
                    format!("strftime_now does not know the directive `{directive}`"),
                ));
            }
        }
        .map_err(|error| Error::new(ErrorKind::WriteFailure, error.to_string()))?;
    }
    Ok(out)
}

/// Year, month, day and day of the year of a day counted from 1 January 1970 (Gregorian calendar).
fn civil(mut days: u64) -> (u64, u64, u64, u64) {
    let mut year = 1970;
    loop {
        let length = if leap(year) { 366 } else { 365 };
        if days < length {
            break;
        }
        days -= length;
        year += 1;
    }
    let day_of_year = days + 1;
    let lengths = [31, if leap(year) { 29 } else { 28 }, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let mut month = 1;
    for length in lengths {
        if days < length {
            break;
        }
        days -= length;
        month += 1;
    }
    (year, month, days + 1, day_of_year)
}

fn leap(year: u64) -> bool {
    year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_moments() {
        let format = "%A %d %B %Y %b %a %H:%M:%S %I %p %j %y %e %F %T %%";
        assert_eq!(
            strftime(format, 0).unwrap(),
            "Thursday 01 January 1970 Jan Thu 00:00:00 12 AM 001 70  1 1970-01-01 00:00:00 %"
        );
        assert_eq!(
            strftime(format, 1_709_211_845).unwrap(),
            "Thursday 29 February 2024 Feb Thu 13:04:05 01 PM 060 24 29 2024-02-29 13:04:05 %"
        );
        assert_eq!(strftime("%F", 1_735_689_599).unwrap(), "2024-12-31");
    }

    #[test]
    fn an_unknown_directive_is_refused() {
        assert!(strftime("%Q", 0).unwrap_err().to_string().contains("`%Q`"));
        assert!(strftime("%", 0).is_err());
    }
}
