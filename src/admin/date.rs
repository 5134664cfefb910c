//! Days since 1970 as a date. The build script, which has no library to call, takes this file as well.

/// Year, month from 1 and day of the month from 1 of a day counted since 1970-01-01, in the Gregorian calendar.
pub(crate) fn date_of(days: i64) -> (i64, i64, i64) {
    // Years begin in March, so that the leap day is the last one of its year; 400 of them have 146,097 days, and 719,468
    // lie between March of the year 0 and 1970.
    let days_of_march = days + 719_468;
    let (era, day) = (days_of_march.div_euclid(146_097), days_of_march.rem_euclid(146_097));
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day_of_year = day - (365 * year + year / 4 - year / 100);
    // Months from March on are 31, 30, 31, 30, 31 days long, and so on: 153 in five.
    let month = (5 * day_of_year + 2) / 153;
    let day_of_month = day_of_year - (153 * month + 2) / 5 + 1;
    (era * 400 + year + i64::from(month >= 10), (month + 2) % 12 + 1, day_of_month)
}
