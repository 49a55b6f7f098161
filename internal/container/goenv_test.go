package container

import (
	"slices"
	"testing"
)

func TestGoEnv(t *testing.T) {
	for processors, want := range map[int][]string{1: {"GOMAXPROCS=1", "GOGC=50"}, 2: {"GOMAXPROCS=1", "GOGC=50"}, 3: nil, 64: nil} {
		if got := GoEnv(processors); !slices.Equal(got, want) {
			t.Errorf("%d processors: got %q, want %q", processors, got, want)
		}
	}
	for processors, want := range map[int][]string{
		2: {"GOMAXPROCS=1", "GOGC=off", "GOMEMLIMIT=1048576", "GOGC_AFTER_START=50"},
		3: {"GOGC=off", "GOMEMLIMIT=1048576", "GOGC_AFTER_START=100"},
	} {
		if got := GoEnvStarting(processors, 1<<20); !slices.Equal(got, want) {
			t.Errorf("starting, %d processors: got %q, want %q", processors, got, want)
		}
	}
}
