package http1

const (
	secondsPerDay = 24 * 60 * 60

	// The first and the last second that four digits of a year can name.
	earliestTime = -62167219200
	latestTime   = 253402300799

	dayNames   = "SunMonTueWedThuFriSat"
	monthNames = "JanFebMarAprMayJunJulAugSepOctNovDec"
)

// TimeBytes is the length in bytes of what FormatTime appends.
const TimeBytes = len("Sun, 06 Nov 1994 08:49:37 GMT")

// FormatTime appends a time, given in seconds since 1970, as an IMF-fixdate (RFC 9110 section 5.6.7), such as
// "Sun, 06 Nov 1994 08:49:37 GMT". A time outside the years 0 to 9999 becomes the nearest second inside.
func FormatTime(dst []byte, unix int64) []byte {
	unix = min(max(unix, earliestTime), latestTime)
	second := int(unix % secondsPerDay)
	if second < 0 {
		second += secondsPerDay
	}
	day := (unix - int64(second)) / secondsPerDay
	year, month, date := civil(day)
	weekday := int((day%7 + 11) % 7) // day 0 was a Thursday
	dst = append(dst, dayNames[weekday*3:weekday*3+3]...)
	dst = append(dst, ',', ' ')
	dst = appendTwo(dst, date)
	dst = append(dst, ' ')
	dst = append(dst, monthNames[month*3-3:month*3]...)
	dst = append(dst, ' ')
	dst = appendTwo(dst, year/100)
	dst = appendTwo(dst, year%100)
	dst = append(dst, ' ')
	dst = appendTwo(dst, second/3600)
	dst = append(dst, ':')
	dst = appendTwo(dst, second/60%60)
	dst = append(dst, ':')
	dst = appendTwo(dst, second%60)
	return append(dst, " GMT"...)
}

func appendTwo(dst []byte, n int) []byte { return append(dst, '0'+byte(n/10), '0'+byte(n%10)) }

// daysBefore is how many days of a year that begins in March pass before each month: with the leap day at its end,
// the calendar is regular.
var daysBefore = [12]int{0, 31, 61, 92, 122, 153, 184, 214, 245, 275, 306, 337}

// marchEpoch is how many days 1 March of year 0 lies before 1 January 1970.
const marchEpoch = 719468

// civil returns the date of a day counted from 1 January 1970; the day lies in the years 0 to 9999.
func civil(day int64) (year, month, date int) {
	// Moved by 400 years, the length of the Gregorian cycle, so that January of year 0 is not negative.
	n := int(day) + marchEpoch + daysIn400
	cycle := n / daysIn400
	n %= daysIn400
	century := min(n/daysIn100, 3)
	n -= century * daysIn100
	four := n / daysIn4
	n -= four * daysIn4
	single := min(n/365, 3)
	n -= single * 365
	m := 11
	for daysBefore[m] > n {
		m--
	}
	year = (cycle-1)*400 + century*100 + four*4 + single
	if month = m + 3; month > 12 {
		month -= 12
		year++
	}
	return year, month, n - daysBefore[m] + 1
}

const (
	daysIn4   = 4*365 + 1
	daysIn100 = 25*daysIn4 - 1
	daysIn400 = 4*daysIn100 + 1
)

// dayOf is the inverse of civil.
func dayOf(year, month, date int) int64 {
	m := month - 3
	if m < 0 {
		m += 12
		year--
	}
	year += 400
	days := year*365 + year/4 - year/100 + year/400 + daysBefore[m] + date - 1
	return int64(days) - marchEpoch - daysIn400
}

// ParseTime reads a time as RFC 9110 section 5.6.7 asks: an IMF-fixdate, or one of the two obsolete forms, those of
// RFC 850 and of asctime. It returns seconds since 1970, and false for anything else, a date that does not exist
// included. Names are case-sensitive; that the name of the day fits the date is not checked. Because this package has
// no clock, a year of two digits means 1969 to 2068. A leap second is the first second of the next minute.
func ParseTime(b []byte) (unix int64, ok bool) {
	if len(b) < len("Sun Nov  6 08:49:37 1994") || len(b) > len("Wednesday, 06-Nov-94 08:49:37 GMT") {
		return 0, false
	}
	switch {
	case len(b) == TimeBytes && b[3] == ',':
		return parseFixed(b)
	case b[3] == ' ':
		return parseAsctime(b)
	}
	return parseRFC850(b)
}

// parseFixed reads "Sun, 06 Nov 1994 08:49:37 GMT".
func parseFixed(b []byte) (int64, bool) {
	if string(b[3:5]) != ", " || b[7] != ' ' || b[11] != ' ' || b[16] != ' ' || string(b[25:]) != " GMT" ||
		index(dayNames, b[:3]) < 0 {
		return 0, false
	}
	return assemble(digits(b[12:16]), index(monthNames, b[8:11]), digits(b[5:7]), b[17:25])
}

// parseAsctime reads "Sun Nov  6 08:49:37 1994".
func parseAsctime(b []byte) (int64, bool) {
	if len(b) != 24 || b[7] != ' ' || b[10] != ' ' || b[19] != ' ' || index(dayNames, b[:3]) < 0 {
		return 0, false
	}
	date := b[8:10]
	if date[0] == ' ' {
		date = date[1:]
	}
	return assemble(digits(b[20:]), index(monthNames, b[4:7]), digits(date), b[11:19])
}

// parseRFC850 reads "Sunday, 06-Nov-94 08:49:37 GMT".
func parseRFC850(b []byte) (int64, bool) {
	const tail = len(", 06-Nov-94 08:49:37 GMT")
	name := len(b) - tail
	if name < len("Sunday") || !isDayName(b[:name]) {
		return 0, false
	}
	b = b[name:]
	if string(b[:2]) != ", " || b[4] != '-' || b[8] != '-' || b[11] != ' ' || string(b[20:]) != " GMT" {
		return 0, false
	}
	year := digits(b[9:11])
	if year >= 0 {
		if year += 1900; year < 1969 {
			year += 100
		}
	}
	return assemble(year, index(monthNames, b[5:8]), digits(b[2:4]), b[12:20])
}

func isDayName(b []byte) bool {
	switch string(b) {
	case "Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday":
		return true
	}
	return false
}

// index returns which of the three-letter names b is, counted from 1, or -1.
func index(names string, b []byte) int {
	for i := 0; i < len(names); i += 3 {
		if names[i:i+3] == string(b) {
			return i/3 + 1
		}
	}
	return -1
}

// digits returns the number that b spells, or -1.
func digits(b []byte) int {
	n := 0
	for _, c := range b {
		if !isDigit(c) {
			return -1
		}
		n = n*10 + int(c-'0')
	}
	return n
}

// assemble checks the parts of a time, of which negative ones are faults, and puts them together; clock is "08:49:37".
func assemble(year, month, date int, clock []byte) (int64, bool) {
	hour, minute, second := digits(clock[:2]), digits(clock[3:5]), digits(clock[6:8])
	if year < 0 || month < 1 || date < 1 || date > daysIn(year, month) || clock[2] != ':' || clock[5] != ':' ||
		hour < 0 || hour > 23 || minute < 0 || minute > 59 || second < 0 || second > 60 {
		return 0, false
	}
	return dayOf(year, month, date)*secondsPerDay + int64(hour*3600+minute*60+second), true
}

// daysIn returns how many days a month has.
func daysIn(year, month int) int {
	switch {
	case month == 2 && year%4 == 0 && (year%100 != 0 || year%400 == 0):
		return 29
	case month == 2:
		return 28
	case month == 4 || month == 6 || month == 9 || month == 11:
		return 30
	}
	return 31
}
