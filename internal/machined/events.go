package machined

import (
	"context"
	"slices"
	"time"

	"github.com/cyvive/cyvive/internal/machined/server"
)

// serviceEventsInterval is the longest time between two looks at services for
// events. A change of a container, or of a containerd, is seen at once; the kubelet
// has nothing that tells of it.
const serviceEventsInterval = 30 * time.Second

// serviceEventsPause is the shortest: changes come in swarms.
const serviceEventsPause = time.Second

// tellServices makes events of what services do.
func (a *Agent) tellServices(ctx context.Context) error {
	known := map[string]server.Service{}
	for {
		// What cannot be listed now is listed the next time.
		services, err := servicesAPI{a}.Services(ctx)
		if err == nil {
			known = a.tellChanges(known, services)
		}
		if !sleep(ctx, serviceEventsPause) {
			return ctx.Err()
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-a.containersChanged:
		case <-time.After(serviceEventsInterval):
		}
	}
}

var serviceStateNames = map[server.ServiceState]string{
	server.ServiceStopped: "stopped", server.ServiceStarting: "starting", server.ServiceRunning: "running",
	server.ServiceStopping: "stopping", server.ServiceFailed: "failed",
}

func (a *Agent) tellChanges(known map[string]server.Service, services []server.Service) map[string]server.Service {
	now := map[string]server.Service{}
	for _, s := range services {
		now[s.Name] = s
		old, ok := known[s.Name]
		if ok && old.State == s.State && old.PID == s.PID && old.Restarts == s.Restarts {
			continue
		}
		reason := s.Reason
		if reason == "" && s.State == server.ServiceRunning && ok {
			reason = s.LastExit
		}
		a.events.Add(server.EventService, s.Name, serviceStateNames[s.State], reason)
	}
	for name := range known {
		if _, ok := now[name]; !ok {
			a.events.Add(server.EventService, name, "gone", "")
		}
	}
	return now
}

// tellHealth makes events of what changed in the checks.
func (a *Agent) tellHealth(before, after []server.Check) {
	for _, c := range after {
		i := slices.IndexFunc(before, func(b server.Check) bool { return b.Name == c.Name })
		if i >= 0 && before[i].Healthy == c.Healthy && before[i].Reason == c.Reason {
			continue
		}
		state := "ready"
		if !c.Healthy {
			state = "not ready"
		}
		a.events.Add(server.EventHealth, c.Name, state, c.Reason)
	}
}

// acted makes an event of a call that acts on the node.
func (a *Agent) acted(method, subject, code string) {
	a.events.Add(server.EventRequest, method, code, "called by "+subject)
}
