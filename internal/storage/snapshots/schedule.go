package snapshots

import (
	"fmt"
	"time"
)

// Calendar is a unit of the calendar.
type Calendar string

// The units.
const (
	Hourly  Calendar = "hourly"
	Daily   Calendar = "daily"
	Weekly  Calendar = "weekly"
	Monthly Calendar = "monthly"
	Yearly  Calendar = "yearly"
)

// Bounds of Schedule.Every. A transaction group of ZFS is 5 s at most by default (zfs(4), zfs_txg_timeout), so more often is of little use.
const (
	MinEvery = 10 * time.Second
	MaxEvery = 366 * 24 * time.Hour
)

// Schedule is a set of times, in UTC: each multiple of an interval, or one in each unit of the calendar. The zero Schedule has none.
type Schedule struct {
	// Every is the interval, zero for one of the calendar. Its multiples are counted so that intervals which divide a day have midnight among them.
	Every time.Duration
	// Calendar is empty for an interval.
	Calendar Calendar
	// Hour is of all but Hourly, Minute of all.
	Hour, Minute int
	// Weekday is of Weekly.
	Weekday time.Weekday
	// Day is that of the month, for Monthly and Yearly. In a month that has not so many it is the last one.
	Day int
	// Month is of Yearly.
	Month time.Month
}

// IsZero says that there is no time.
func (s Schedule) IsZero() bool { return s == Schedule{} }

// Check says what is wrong with a schedule that is not zero.
func (s Schedule) Check() error {
	unit := map[Calendar]bool{Hourly: true, Daily: true, Weekly: true, Monthly: true, Yearly: true}
	dated := s.Calendar == Monthly || s.Calendar == Yearly
	switch {
	case (s.Every != 0) == (s.Calendar != ""):
		return fmt.Errorf("expected either an interval or a unit of the calendar")
	case s.Every != 0 && (s.Every < MinEvery || s.Every > MaxEvery):
		return fmt.Errorf("an interval of %s, expected one from %s to %s", s.Every, MinEvery, MaxEvery)
	case s.Every != 0 && s != Schedule{Every: s.Every}:
		return fmt.Errorf("an interval has no time of day and no day")
	case s.Every != 0:
		return nil
	case !unit[s.Calendar]:
		return fmt.Errorf("unknown unit %q", s.Calendar)
	case s.Hour < 0 || s.Hour > 23 || s.Minute < 0 || s.Minute > 59 || s.Calendar == Hourly && s.Hour != 0:
		return fmt.Errorf("%02d:%02d is no time for %s", s.Hour, s.Minute, s.Calendar)
	case s.Weekday < time.Sunday || s.Weekday > time.Saturday || s.Calendar != Weekly && s.Weekday != 0:
		return fmt.Errorf("%d is no day of the week for %s", s.Weekday, s.Calendar)
	case dated && (s.Day < 1 || s.Day > 31) || !dated && s.Day != 0:
		return fmt.Errorf("%d is no day of the month for %s", s.Day, s.Calendar)
	case s.Calendar == Yearly && (s.Month < time.January || s.Month > time.December) || s.Calendar != Yearly && s.Month != 0:
		return fmt.Errorf("%d is no month for %s", s.Month, s.Calendar)
	}
	return nil
}

// Latest returns the last time of the schedule that is not after t; the schedule is not zero and has no mistake.
func (s Schedule) Latest(t time.Time) time.Time {
	t = t.UTC()
	if s.Every != 0 {
		return t.Truncate(s.Every)
	}
	if at := s.in(t, 0); !at.After(t) {
		return at
	}
	return s.in(t, -1)
}

// Next returns the first time of the schedule after t, with the terms of Latest.
func (s Schedule) Next(t time.Time) time.Time {
	t = t.UTC()
	if s.Every != 0 {
		return t.Truncate(s.Every).Add(s.Every)
	}
	if at := s.in(t, 0); at.After(t) {
		return at
	}
	return s.in(t, 1)
}

// period is the time between the two times of the schedule round t.
func (s Schedule) period(t time.Time) time.Duration { return s.Next(t).Sub(s.Latest(t)) }

// in returns the time in the unit of the calendar that is n after that of t.
func (s Schedule) in(t time.Time, n int) time.Time {
	year, month, day := t.Date()
	date := func(y int, m time.Month, d, h int) time.Time { return time.Date(y, m, d, h, s.Minute, 0, 0, time.UTC) }
	// The day before the first of the month after is the month's last.
	dayOf := func(y int, m time.Month) int { return min(s.Day, time.Date(y, m+1, 0, 0, 0, 0, 0, time.UTC).Day()) }
	switch s.Calendar {
	case Hourly:
		return date(year, month, day, t.Hour()+n)
	case Daily:
		return date(year, month, day+n, s.Hour)
	case Weekly:
		return date(year, month, day+int(s.Weekday-t.Weekday())+7*n, s.Hour)
	case Monthly:
		m := month + time.Month(n)
		return date(year, m, dayOf(year, m), s.Hour)
	case Yearly:
		return date(year+n, s.Month, dayOf(year+n, s.Month), s.Hour)
	}
	panic(fmt.Sprintf("snapshots: unknown unit %q", s.Calendar))
}

// String is the schedule for a person.
func (s Schedule) String() string {
	at := fmt.Sprintf("%02d:%02d UTC", s.Hour, s.Minute)
	switch s.Calendar {
	case Hourly:
		return fmt.Sprintf("hourly at minute %d", s.Minute)
	case Daily:
		return "daily at " + at
	case Weekly:
		return fmt.Sprintf("weekly on %s at %s", s.Weekday, at)
	case Monthly:
		return fmt.Sprintf("monthly on day %d at %s", s.Day, at)
	case Yearly:
		return fmt.Sprintf("yearly on %s %d at %s", s.Month, s.Day, at)
	}
	if s.Every != 0 {
		return fmt.Sprintf("every %s", s.Every)
	}
	return "never"
}

// Due tells whether one of the times has come since last, which is zero if it was never done. It is for what is not a snapshot, such as a scrub: the clock
// counts.
func (s Schedule) Due(last, now time.Time) bool {
	return !s.IsZero() && (last.IsZero() || s.Latest(now).After(last))
}

// due says whether a snapshot is to be made now. Last is the newest that there is, by CreateTXG, and seen how long it has been known, by a clock that
// never jumps. Without one it is due at once.
func (s Schedule) due(now time.Time, last *Snapshot, seen time.Duration) bool {
	switch {
	case s.IsZero():
		return false
	case last == nil:
		return true
	case last.Created.After(now):
		return seen >= s.period(now)
	}
	return s.Latest(now).After(last.Created)
}

// wait is how long until due may say so, under the same terms; it is not for a zero Schedule.
func (s Schedule) wait(now time.Time, last *Snapshot, seen time.Duration) time.Duration {
	switch {
	case last == nil:
		return 0
	case last.Created.After(now):
		return max(0, min(s.period(now)-seen, s.Next(last.Created).Sub(now)))
	}
	return max(0, s.Next(last.Created).Sub(now))
}
