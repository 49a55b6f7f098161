package machined

import (
	"slices"
	"time"

	"github.com/cyvive/cyvive/internal/machined/plan"
	"github.com/cyvive/cyvive/internal/machined/server"
	"github.com/cyvive/cyvive/internal/machined/state"
	"github.com/cyvive/cyvive/internal/storage"
)

// health returns the checks of a snapshot, in the order in which the node comes up. Etcd and Kubernetes have none on a node without a
// cluster. They are the gates of a new release too.
func health(s snapshot) []server.Check {
	checks := []server.Check{
		check("config", s.input.Config != nil, first(s.configProblem, s.desired.Waits[plan.Network], "looking for the configuration")),
		domainCheck("network", s.network, s.network.Status.Ready, s.network.Status.Reason),
		domainCheck("storage", s.storage, s.storage.Status.Ready, s.storage.Status.Reason),
		check("identity", s.identity, first(s.identityProblem, s.onMedium(), "waiting for the state volume")),
		check("confinement", s.isConfined(), first(s.confineProblem, "not in force yet")),
	}
	checks = append(checks, timeHealth(s)...)
	if s.input.Config == nil || s.input.Config.Cluster != nil {
		checks = append(checks, clusterHealth(s)...)
	}
	return slices.Concat(checks, volumesHealth(s), recoveryKeyHealth(s), poolsHealth(s), ownPoolHealth(s), datasetsHealth(s), replicationHealth(s), cacheHealth(s), extensionsHealth(s), upgradeHealth(s), resetHealth(s))
}

// onMedium says that the system runs from an installation medium; empty if it does not.
func (s snapshot) onMedium() string {
	if s.input.Medium {
		return plan.OnMedium
	}
	return ""
}

func clusterHealth(s snapshot) []server.Check {
	return []server.Check{
		domainCheck("etcd", s.etcd, s.etcd.Status.Ready, waitingFor(s.etcd.Status.Reason)),
		domainCheck("kube-apiserver", s.kube, s.kube.Status.APIServerReady, waitingFor(s.kube.Status.Reason)),
		domainCheck("node", s.kube, s.kube.Status.Ready, waitingFor(s.kube.Status.Reason)),
		servicesCheck(s),
	}
}

// recoveryKeyCheck is the name of the health check of the node's recovery key.
const recoveryKeyCheck = "recovery-key"

// recoveryKeyHealth is in order while a person has noted all recovery keys that the node has made in the place of one that he has. He is wanted for that, and the node is ready
// without him; no release goes back for it, as another has the same keys.
func recoveryKeyHealth(s snapshot) []server.Check {
	for _, v := range s.storage.Status.Volumes {
		if v.Name == storage.State && v.Encrypted && v.Mounted {
			c := check(recoveryKeyCheck, !v.Unnoted, storage.Unnoted)
			c.Aside = true
			return []server.Check{c}
		}
	}
	return nil
}

// servicesCheck is about what pods can reach by service addresses: the cluster told of them, and the kernel translates.
func servicesCheck(s snapshot) server.Check {
	if s.services == nil {
		return check("services", false, "waiting for the API server to tell of services")
	}
	return domainCheck("services", s.network, s.network.Status.ServicesAttached, "waiting for the programs that translate services to be attached")
}

func check(name string, healthy bool, reason string) server.Check {
	c := server.Check{Name: name, Healthy: healthy}
	if !healthy {
		c.Reason = reason
	}
	return c
}

// domainCheck prefers the reason of the domain's status, which is about the thing itself, to that of its loop, unless the loop failed or is
// held back. A domain that is held back or failed is not known to be healthy.
func domainCheck[S any](name string, r state.Report[S], ready bool, reason string) server.Check {
	healthy := ready && r.Held == "" && r.Problem == "" && r.Generation > 0
	return check(name, healthy, first(r.Held, r.Problem, reason, r.Doing, "not looked at yet"))
}

// waitingFor makes a sentence of a reason that is only what is waited for.
func waitingFor(reason string) string {
	if reason == "" {
		return ""
	}
	return "waiting for " + reason
}

func first(texts ...string) string {
	for _, t := range texts {
		if t != "" {
			return t
		}
	}
	return ""
}

// sinceText is since when something is so, behind what it is.
func sinceText(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return ", since " + t.UTC().Format(time.RFC3339)
}

// sooner is the earlier of two times, of which a zero one counts for nothing.
func sooner(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// dated sets when each check last changed.
func dated(old, fresh []server.Check, now time.Time) []server.Check {
	for i := range fresh {
		fresh[i].Since = now
		for _, o := range old {
			if o.Name == fresh[i].Name && o.Healthy == fresh[i].Healthy && o.Reason == fresh[i].Reason {
				fresh[i].Since = o.Since
			}
		}
	}
	return fresh
}
