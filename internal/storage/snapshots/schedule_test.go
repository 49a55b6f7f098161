package snapshots

import (
	"math/rand/v2"
	"testing"
	"time"
)

func at(t *testing.T, text string) time.Time {
	t.Helper()
	out, err := time.Parse(time.RFC3339, text)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestSchedules(t *testing.T) {
	for _, test := range []struct {
		s                 Schedule
		now, latest, next string
	}{
		{Schedule{Every: 15 * time.Minute}, "2026-03-01T12:07:09Z", "2026-03-01T12:00:00Z", "2026-03-01T12:15:00Z"},
		{Schedule{Every: 15 * time.Minute}, "2026-03-01T12:15:00Z", "2026-03-01T12:15:00Z", "2026-03-01T12:30:00Z"},
		{Schedule{Every: 24 * time.Hour}, "2026-03-01T12:07:09Z", "2026-03-01T00:00:00Z", "2026-03-02T00:00:00Z"},
		{Schedule{Calendar: Hourly, Minute: 30}, "2026-03-01T00:07:00Z", "2026-02-28T23:30:00Z", "2026-03-01T00:30:00Z"},
		{Schedule{Calendar: Daily, Hour: 3}, "2026-01-01T02:59:59Z", "2025-12-31T03:00:00Z", "2026-01-01T03:00:00Z"},
		{Schedule{Calendar: Daily, Hour: 3}, "2026-01-01T03:00:00Z", "2026-01-01T03:00:00Z", "2026-01-02T03:00:00Z"},
		// 2026-03-01 is a Sunday.
		{Schedule{Calendar: Weekly, Weekday: time.Sunday}, "2026-03-01T00:00:00Z", "2026-03-01T00:00:00Z", "2026-03-08T00:00:00Z"},
		{Schedule{Calendar: Weekly, Weekday: time.Saturday, Hour: 1}, "2026-03-01T00:00:00Z", "2026-02-28T01:00:00Z", "2026-03-07T01:00:00Z"},
		{Schedule{Calendar: Weekly, Weekday: time.Wednesday}, "2026-01-02T00:00:00Z", "2025-12-31T00:00:00Z", "2026-01-07T00:00:00Z"},
		{Schedule{Calendar: Monthly, Day: 31}, "2026-03-01T00:00:00Z", "2026-02-28T00:00:00Z", "2026-03-31T00:00:00Z"},
		{Schedule{Calendar: Monthly, Day: 31}, "2026-01-30T00:00:00Z", "2025-12-31T00:00:00Z", "2026-01-31T00:00:00Z"},
		{Schedule{Calendar: Monthly, Day: 30}, "2026-01-31T00:00:00Z", "2026-01-30T00:00:00Z", "2026-02-28T00:00:00Z"},
		{Schedule{Calendar: Yearly, Month: time.February, Day: 29}, "2027-06-01T00:00:00Z", "2027-02-28T00:00:00Z", "2028-02-29T00:00:00Z"},
	} {
		now := at(t, test.now)
		if got := test.s.Latest(now).Format(time.RFC3339); got != test.latest {
			t.Errorf("%s at %s: the latest is %s, want %s", test.s, test.now, got, test.latest)
		}
		if got := test.s.Next(now).Format(time.RFC3339); got != test.next {
			t.Errorf("%s at %s: the next is %s, want %s", test.s, test.now, got, test.next)
		}
		if err := test.s.Check(); err != nil {
			t.Errorf("%s: %v", test.s, err)
		}
	}
	if err := (Schedule{}).Check(); err == nil || (Schedule{}).String() != "never" {
		t.Errorf("a schedule that is none: %v", err)
	}
}

func TestDue(t *testing.T) {
	now := at(t, "2026-03-01T12:07:00Z")
	monthly := Schedule{Calendar: Monthly, Day: 1, Hour: 3}
	for name, test := range map[string]struct {
		s    Schedule
		last time.Time
		want bool
	}{
		"never done": {monthly, time.Time{}, true}, "last month": {monthly, now.AddDate(0, -1, 0), true}, "today": {monthly, now.Add(-9 * time.Hour), false},
		"before its time": {monthly, now.Add(-10 * time.Hour), true}, "yet to come": {monthly, now.AddDate(1, 0, 0), false}, "never": {Schedule{}, time.Time{}, false},
	} {
		if got := test.s.Due(test.last, now); got != test.want {
			t.Errorf("%s: it is due: %t", name, got)
		}
	}
}

// TestSchedulesAreConsistent: Latest and Next enclose every time, and are times of the schedule themselves, wherever one begins to count.
func TestSchedulesAreConsistent(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	all := []Schedule{
		{Every: 10 * time.Second}, {Every: 7 * time.Hour}, {Calendar: Hourly, Minute: 59}, {Calendar: Daily, Hour: 23, Minute: 59},
		{Calendar: Weekly, Weekday: time.Thursday}, {Calendar: Monthly, Day: 31, Hour: 12}, {Calendar: Monthly, Day: 1},
		{Calendar: Yearly, Month: time.December, Day: 31, Hour: 23}, {Calendar: Yearly, Month: time.February, Day: 29},
	}
	for range 20000 {
		s := all[random.IntN(len(all))]
		now := time.Unix(random.Int64N(1<<32), random.Int64N(1e9)).UTC()
		latest, next := s.Latest(now), s.Next(now)
		if latest.After(now) || !next.After(now) {
			t.Fatalf("%s at %s: from %s to %s", s, now, latest, next)
		}
		if got := s.Next(latest); !got.Equal(next) {
			t.Fatalf("%s at %s: after %s comes %s, and not %s", s, now, latest, next, got)
		}
		if got := s.Latest(next); !got.Equal(next) {
			t.Fatalf("%s: %s is no time of it, but %s", s, next, got)
		}
	}
}

func TestNames(t *testing.T) {
	now := at(t, "2026-03-01T12:07:09Z")
	taken := map[string]bool{}
	for _, want := range []string{"a-20260301T120709Z", "a-20260301T120709Z-2", "a-20260301T120709Z-3"} {
		got := Name("a-", now, func(name string) bool { return taken[name] })
		if taken[got] = true; got != want {
			t.Errorf("got %s, want %s", got, want)
		}
		if !isOf("a-", got) || isOf("a", got) || isOf("b-", got) {
			t.Errorf("%s is not known again", got)
		}
	}
	for _, name := range []string{
		"a-", "a-20260301", "a-20260301T120709", "a-20261301T120709Z", "a-20260301T120709Z-", "a-20260301T120709Z-1", "a-20260301T120709Z-02",
		"a-20260301T120709Z-x", "a-20260301T120709Zx", "a-before-the-upgrade", "b-20260301T120709Z", "a-20260301T120709Z--2", "a-20260301T120709Z-+2",
	} {
		if isOf("a-", name) {
			t.Errorf("%s is taken for one of the policy", name)
		}
	}
}
