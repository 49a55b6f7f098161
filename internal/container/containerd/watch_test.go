package containerd

import (
	"testing"

	"github.com/containerd/containerd/v2/core/events"
	"github.com/containerd/containerd/v2/pkg/filters"
)

func TestEventFilter(t *testing.T) {
	filter, err := filters.Parse(eventFilter("system"))
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		namespace, topic string
		want             bool
	}{
		{"system", "/tasks/exit", true},
		{"system", "/tasks/start", true},
		{"k8s.io", "/tasks/exit", false},
		{"system", "/tasks/exec-started", false},
		{"system", "/containers/create", false},
	} {
		if got := filter.Match(&events.Envelope{Namespace: test.namespace, Topic: test.topic}); got != test.want {
			t.Errorf("%s in %s: got %t", test.topic, test.namespace, got)
		}
	}
}
