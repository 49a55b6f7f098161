package source

import (
	"errors"
	"net/http"
	"testing"
	"time"
)

// lateTransport answers with nothing once the request's time has passed, as a server may that sees its connection being closed.
type lateTransport struct{}

func (lateTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	<-r.Context().Done()
	return &http.Response{StatusCode: http.StatusOK, Body: http.NoBody, Request: r}, nil
}

// TestLateAnswer: an answer behind its time is none, and above all does not say that there is no configuration.
func TestLateAnswer(t *testing.T) {
	c := newClient(10*time.Millisecond, nil)
	c.http.Transport = lateTransport{}
	a, err := c.ask(t.Context(), http.MethodGet, "http://192.0.2.1/", nil)
	var tr *trouble
	if want := "http://192.0.2.1/: no answer in 10ms"; !errors.As(err, &tr) || tr.reason != want || !tr.passing {
		t.Errorf("got %+v, %v, want trouble that passes: %s", a, err, want)
	}
}
