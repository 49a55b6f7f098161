package e2e

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cyvive/cyvive/hack/qemu/vm"
)

// stretch is a part of something that takes time: from what the console says at its beginning to the beginning of the next.
type stretch struct {
	name string
	// begins is what the console says; the first one of a course begins with the whole, whatever is said.
	begins string
	// lasts is as measured, or as guessed.
	lasts time.Duration
}

// course is all of it, in order.
type course []stretch

// guessed is how long a stretch is taken to last that was not measured: on emulated processors.
const guessed = 3 * time.Second

// newCourse is made of names and of what the console says.
func newCourse(words ...string) (c course) {
	for i := 0; i < len(words); i += 2 {
		c = append(c, stretch{words[i], words[i+1], guessed})
	}
	return c
}

// from is the rest of a course from a stretch on, all of it for one that it does not have. It begins with the whole.
func (c course) from(name string) course {
	for i, s := range c {
		if s.name == name {
			return c[i:]
		}
	}
	return c
}

// before is what of a course is before a stretch, all of it for one that it does not have.
func (c course) before(name string) course {
	for i, s := range c {
		if s.name == name {
			return c[:i]
		}
	}
	return c
}

func (c course) String() string {
	var words []string
	for _, s := range c {
		words = append(words, fmt.Sprintf("%s %.1f s", s.name, s.lasts.Seconds()))
	}
	return strings.Join(words, ", ")
}

// moment is when to cut the power.
type moment struct {
	course course
	in     int
	after  time.Duration
}

func (m moment) String() string {
	return fmt.Sprintf("%.2f s after the beginning of: %s", m.after.Seconds(), m.course[m.in].name)
}

// draw picks a moment: any stretch is as likely as another, however short, since what matters is often done in a short one.
func (c course) draw(r *rand.Rand) moment { return c.drawIn(r.IntN(len(c)), r) }

// drawIn picks a moment of one stretch.
func (c course) drawIn(in int, r *rand.Rand) moment {
	return moment{c, in, time.Duration(r.Int64N(int64(c[in].lasts) + 1))}
}

// reach returns at the moment, or before if over is closed. A stretch that does not come is taken for over when a later one begins.
func (m moment) reach(ctx context.Context, console *vm.Console, over <-chan struct{}) error {
	if m.in > 0 {
		found, err := awaitStretch(ctx, console, over, m.course[m.in:])
		if err != nil || found < 0 {
			return err
		}
	}
	select {
	case <-time.After(m.after):
	case <-over:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	return nil
}

var errOver = errors.New("it is over")

// awaitStretch waits for the beginning of one of some stretches, and returns which it is; -1 if over was closed before.
func awaitStretch(ctx context.Context, console *vm.Console, over <-chan struct{}, of course) (int, error) {
	var patterns []string
	for _, s := range of {
		patterns = append(patterns, s.begins)
	}
	waiting, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	go func() {
		select {
		case <-over:
			stop(errOver)
		case <-waiting.Done():
		}
	}()
	line, err := console.WaitLine(waiting, regexp.MustCompile(strings.Join(patterns, "|")))
	if err != nil {
		if errors.Is(context.Cause(waiting), errOver) {
			err = nil
		}
		return -1, err
	}
	for i, pattern := range patterns {
		if regexp.MustCompile(pattern).MatchString(line) {
			return i, nil
		}
	}
	return -1, fmt.Errorf("%q matches %q together and none alone", line, patterns)
}

// measure watches a course from its beginning until over is closed, and returns it with its lengths. What did not come is left out.
func (c course) measure(ctx context.Context, console *vm.Console, over <-chan struct{}) (course, error) {
	measured, began := course{c[0]}, time.Now()
	end := func() {
		now := time.Now()
		measured[len(measured)-1].lasts = now.Sub(began)
		began = now
	}
	for rest := c[1:]; len(rest) > 0; {
		i, err := awaitStretch(ctx, console, over, rest)
		if err != nil {
			return nil, err
		}
		if i < 0 {
			break
		}
		end()
		measured, rest = append(measured, rest[i]), rest[i+1:]
	}
	select {
	case <-over:
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	end()
	return measured, nil
}

// talker is a console on which a test speaks.
func talker(t *testing.T) (*vm.Console, func(string)) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "console.log")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return vm.OpenConsole(path), func(line string) {
		if _, err := f.WriteString(line + "\n"); err != nil {
			t.Error(err)
		}
	}
}

func TestMeasure(t *testing.T) {
	console, say := talker(t)
	over := make(chan struct{})
	const pause = 300 * time.Millisecond // six times as long as a console is not looked at
	go func() {
		for _, line := range []string{"words", "step=two", "words", "step=four"} {
			time.Sleep(pause)
			say(line)
		}
		time.Sleep(pause)
		close(over)
	}()
	got, err := newCourse("one", "", "two", "step=two", "three", "step=three", "four", "step=four").measure(t.Context(), console, over)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, s := range got {
		names = append(names, s.name)
		if s.lasts < pause/3 || s.lasts > 10*time.Second {
			t.Errorf("%s lasts %s", s.name, s.lasts)
		}
	}
	if d := cmp.Diff([]string{"one", "two", "four"}, names); d != "" {
		t.Errorf("stretches (-want +got):\n%s", d)
	}
	if rest := got.from("two"); rest[0].name != "two" || len(rest) != 2 {
		t.Errorf("from two: %s", rest)
	}
	if rest := got.before("four"); len(rest) != 2 || rest[1].name != "two" || len(got.before("five")) != len(got) {
		t.Errorf("before four: %s", rest)
	}
}

func TestReach(t *testing.T) {
	console, say := talker(t)
	c := newCourse("one", "", "two", "step=two", "three", "step=three")
	say("step=two")
	began := time.Now()
	if err := (moment{c, 1, 50 * time.Millisecond}).reach(t.Context(), console, nil); err != nil || time.Since(began) < 50*time.Millisecond {
		t.Errorf("%v after %s", err, time.Since(began))
	}
	// It does not wait for what will not come.
	over := make(chan struct{})
	close(over)
	if err := (moment{c, 1, time.Hour}).reach(t.Context(), console, over); err != nil {
		t.Error(err)
	}
	ctx, cancel := context.WithTimeoutCause(t.Context(), 100*time.Millisecond, errors.New("gave up"))
	defer cancel()
	if err := (moment{c, 2, 0}).reach(ctx, console, nil); err == nil || !strings.Contains(err.Error(), "step=three") {
		t.Errorf("got %v, want what was waited for", err)
	}
}

func TestDraw(t *testing.T) {
	c := newCourse("one", "", "two", "x")
	c[0].lasts, c[1].lasts = time.Hour, time.Second
	r, in := rand.New(rand.NewPCG(1, 2)), map[int]int{}
	for range 200 {
		m := c.draw(r)
		in[m.in]++
		if m.after < 0 || m.after > c[m.in].lasts {
			t.Fatalf("%s", m)
		}
	}
	if in[0] < 50 || in[1] < 50 {
		t.Errorf("drawn %v", in)
	}
}
