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
	for processors, want := range map[int][]string{2: {"GOGC=50"}, 3: nil} {
		if got := GoEnvParallel(processors); !slices.Equal(got, want) {
			t.Errorf("parallel, %d processors: got %q, want %q", processors, got, want)
		}
	}
}
