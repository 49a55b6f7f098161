package control

import (
	"bytes"
	"encoding/json"
	"fmt"
	"time"
)

// DefaultPath is where init listens.
const DefaultPath = "/run/cyvive/init.sock"

// MaxLineBytes is the longest request or response line.
const MaxLineBytes = 64 << 10

// Service is what init knows of one of its services.
type Service struct {
	Name string `json:"name"`
	// State is stopped, running, waiting (for the next start) or stopping.
	State string `json:"state"`
	// PID is 0 unless the service runs.
	PID      int       `json:"pid"`
	Restarts int       `json:"restarts"`
	LastExit string    `json:"lastExit,omitempty"`
	Since    time.Time `json:"since"`
}

// Action is how the machine goes down.
type Action string

// Actions of Shutdown.
const (
	Reboot   Action = "reboot"
	PowerOff Action = "poweroff"
)

// request and response are the lines of the protocol.
type request struct {
	Op      string `json:"op"`
	Service string `json:"service,omitempty"`
	Name    string `json:"name,omitempty"`
	Action  Action `json:"action,omitempty"`
	On      *bool  `json:"on,omitempty"`
}

type response struct {
	Error    string    `json:"error,omitempty"`
	Services []Service `json:"services,omitempty"`
	Path     string    `json:"path,omitempty"`
	OnTrial  bool      `json:"onTrial,omitempty"`
}

// parseRequest decodes and checks one line. Unknown fields are refused.
func parseRequest(line []byte) (request, error) {
	var q request
	d := json.NewDecoder(bytes.NewReader(line))
	d.DisallowUnknownFields()
	if err := d.Decode(&q); err != nil {
		return q, fmt.Errorf("decode request: %w", err)
	}
	if d.More() {
		return q, fmt.Errorf("decode request: more than one value on the line")
	}
	switch q.Op {
	case "start", "stop", "restart":
		if q.Service == "" {
			return q, fmt.Errorf("%s: no service named", q.Op)
		}
	case "log":
		if !validName(q.Name) {
			return q, fmt.Errorf("log: name %q is not of the form [a-z0-9-]{1,63}", q.Name)
		}
	case "shutdown":
		if q.Action != Reboot && q.Action != PowerOff {
			return q, fmt.Errorf("shutdown: action %q is neither %q nor %q", q.Action, Reboot, PowerOff)
		}
	case "trial":
		if q.On == nil {
			return q, fmt.Errorf("trial: not said whether it is on")
		}
	case "status", "on-trial":
	default:
		return q, fmt.Errorf("unknown operation %q", q.Op)
	}
	return q, nil
}

// parseResponse decodes one line. An answer that says what went wrong is an error.
func parseResponse(line []byte) (response, error) {
	var a response
	if err := json.Unmarshal(line, &a); err != nil {
		return response{}, fmt.Errorf("decode answer of init: %w", err)
	}
	if a.Error != "" {
		return response{}, fmt.Errorf("init: %s", a.Error)
	}
	return a, nil
}

// validName keeps names of logs usable as file names.
func validName(s string) bool {
	if s == "" || len(s) > 63 {
		return false
	}
	for _, c := range []byte(s) {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' {
			return false
		}
	}
	return true
}
