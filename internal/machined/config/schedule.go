package config

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// Unit is a unit of the calendar.
type Unit string

// The units.
const (
	Hourly  Unit = "hourly"
	Daily   Unit = "daily"
	Weekly  Unit = "weekly"
	Monthly Unit = "monthly"
	Yearly  Unit = "yearly"
)

// Bounds of an interval.
const (
	minEvery = 10 * time.Second
	maxEvery = 366 * 24 * time.Hour
)

// Schedule is a set of times in UTC. The zero Schedule has none.
type Schedule struct {
	// Every is an interval; then all else is zero.
	Every time.Duration
	Unit  Unit
	// Hour is not of Hourly. Weekday is of Weekly, Day of Monthly and Yearly, Month of Yearly.
	Hour, Minute int
	Weekday      time.Weekday
	// Day is that of the month, or its last if it has not so many.
	Day   int
	Month time.Month
}

// schedulePattern is the form of a schedule, in parts that both Go and JSON Schema read.
const (
	clockPart       = `(?: at ([01][0-9]|2[0-3]):([0-5][0-9]))?`
	schedulePattern = `^(?:every [0-9]+[hms][0-9hms]*|hourly(?: at :[0-5][0-9])?|daily` + clockPart +
		`|weekly(?: on (?:monday|tuesday|wednesday|thursday|friday|saturday|sunday))?` + clockPart +
		`|monthly(?: on (?:[1-9]|[12][0-9]|3[01]))?` + clockPart +
		`|yearly(?: on (?:0[1-9]|1[0-2])-(?:0[1-9]|[12][0-9]|3[01]))?` + clockPart + `)$`
	scheduleExpected = "a schedule in UTC such as every 15m, hourly at :30, daily at 03:00, weekly on sunday at 03:00, monthly on 1 at 03:00 " +
		"or yearly on 12-31 at 03:00"
)

var scheduleForm = regexp.MustCompile(schedulePattern)

// parseSchedule reads a schedule. Without more, weekly is on monday, monthly on 1, yearly on 01-01, and all are at midnight or the full hour.
func parseSchedule(text string) (Schedule, bool) {
	if !scheduleForm.MatchString(text) {
		return Schedule{}, false
	}
	word, rest, _ := strings.Cut(text, " ")
	if word == "every" {
		every, ok := parseDuration(rest)
		return Schedule{Every: every}, ok && every >= minEvery && every <= maxEvery
	}
	s := Schedule{Unit: Unit(word)}
	day, clock := "", ""
	for words := strings.Fields(rest); len(words) > 1; words = words[2:] {
		if words[0] == "on" {
			day = words[1]
		} else {
			clock = words[1]
		}
	}
	if hour, minute, ok := strings.Cut(clock, ":"); ok {
		s.Hour, _ = strconv.Atoi(hour) // of an hourly one it is not given
		s.Minute, _ = strconv.Atoi(minute)
	}
	switch s.Unit {
	case Weekly:
		s.Weekday = time.Monday
		for d := time.Sunday; d <= time.Saturday; d++ {
			if strings.EqualFold(d.String(), day) {
				s.Weekday = d
			}
		}
	case Monthly:
		s.Day = max(1, number(day))
	case Yearly:
		month, dayOf, _ := strings.Cut(day, "-")
		s.Month, s.Day = time.Month(max(1, number(month))), max(1, number(dayOf))
		// In a leap year, so that the 29th of February is one.
		if last := time.Date(2024, s.Month+1, 0, 0, 0, 0, 0, time.UTC).Day(); s.Day > last {
			return Schedule{}, false
		}
	}
	return s, true
}

// number is that of digits, 0 for none.
func number(digits string) int {
	n, _ := strconv.Atoi(digits)
	return n
}

// String writes a schedule as parseSchedule reads it; the zero one is empty.
func (s Schedule) String() string {
	at := fmt.Sprintf(" at %02d:%02d", s.Hour, s.Minute)
	switch s.Unit {
	case Hourly:
		return fmt.Sprintf("hourly at :%02d", s.Minute)
	case Daily:
		return "daily" + at
	case Weekly:
		return "weekly on " + strings.ToLower(s.Weekday.String()) + at
	case Monthly:
		return fmt.Sprintf("monthly on %d", s.Day) + at
	case Yearly:
		return fmt.Sprintf("yearly on %02d-%02d", s.Month, s.Day) + at
	}
	if s.Every == 0 {
		return ""
	}
	return "every " + durationText(s.Every)
}

// schedule reads a field that may be left out.
func (o *object) schedule(name string) (s Schedule) {
	o.text(name, scheduleExpected, func(text string) bool {
		var ok bool
		s, ok = parseSchedule(text)
		return ok
	})
	return s
}
