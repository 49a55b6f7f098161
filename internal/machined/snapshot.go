package machined

import (
	"cmp"
	"reflect"
	"time"

	csi "github.com/cyvive/cyvive/internal/csi/node"
	"github.com/cyvive/cyvive/internal/etcd"
	extservice "github.com/cyvive/cyvive/internal/extension/service"
	"github.com/cyvive/cyvive/internal/kube"
	"github.com/cyvive/cyvive/internal/machined/config"
	"github.com/cyvive/cyvive/internal/machined/maintenance"
	"github.com/cyvive/cyvive/internal/machined/plan"
	"github.com/cyvive/cyvive/internal/machined/replicate"
	"github.com/cyvive/cyvive/internal/machined/server"
	"github.com/cyvive/cyvive/internal/machined/state"
	"github.com/cyvive/cyvive/internal/machined/timesync"
	"github.com/cyvive/cyvive/internal/machined/upgrade"
	"github.com/cyvive/cyvive/internal/network"
	"github.com/cyvive/cyvive/internal/service"
	"github.com/cyvive/cyvive/internal/storage"
	"github.com/cyvive/cyvive/internal/storage/dataset"
	"github.com/cyvive/cyvive/internal/storage/pool"
	"github.com/cyvive/cyvive/internal/storage/pool/diagnose"
	"github.com/cyvive/cyvive/internal/storage/snapshots"
)

// snapshot is everything that the agent knows. A stored one is never changed.
type snapshot struct {
	input plan.Input
	// configProblem says why there is no valid configuration.
	configProblem string
	// without: every place was looked at for as long as they may take, and there is no configuration. Owner is who may give one.
	without bool
	owner   maintenance.Owner
	// came is whether the state volume came when it was waited for: what was found without it does not outlast the coming of one that is encrypted.
	came coming
	// identity is set when machine ID and ledger are in order; identityProblem says why not.
	identity        bool
	identityProblem string
	// confined is the profile of the walls around the workload plane, empty until they stand; confineProblem says why they do not.
	confined       config.Profile
	confineProblem string
	// listening, runtime: the API answers, the system containerd was started.
	listening, runtime bool
	listeningSince     time.Time
	// held are the services that were stopped on request.
	held []string

	// crash is what is known of a bad end of the boot before.
	crash string
	// upgradable: the node was started from a slot. upgrade is nil until it knows its slots; upgradeProblem says why it does not, or cannot do
	// what an upgrade asks for.
	upgradable     bool
	upgrade        *upgrade.Status
	upgradeProblem string

	// extensible: the node keeps extensions. extensions is what became of those that are wanted, nil until they were put to use; extensionsProblem
	// says why they were not.
	extensible        bool
	extensions        *extensionsInUse
	extensionsProblem string
	// pushes counts the extensions that were pushed since the agent's start.
	pushes int
	// clock is how the node's clock is kept.
	clock timesync.Status
	// gates is the last look at those of the configuration.
	gates []looked
	// haveHeld are the gates of a release that have held since the agent's start.
	haveHeld []string

	// resetProblem is why a reset does not go on; empty if none has to.
	resetProblem string

	// pooled: the node has OpenZFS; noPools says why not. pools is what its loop has told, at poolsAt; zero while it has not.
	pooled  bool
	noPools string
	pools   state.Report[pool.Status]
	poolsAt time.Time
	// poolsSeen: the loop has ended a pass in which it has looked at the pools, and done what can be done to each.
	poolsSeen bool
	// marks are devices of pools that answer and are not to be trusted, as their errors were counted.
	marks []diagnose.Mark
	// datasets and schedules are what the loops of datasets and snapshots have told, cache is how the memory of ZFS is limited.
	datasets  state.Report[dataset.Status]
	schedules state.Report[snapshots.Status]
	cache     cacheStatus
	// replication is how the jobs are, in short.
	replication []replicate.Status

	// drives: the node has a CSI driver, known from when its task runs. csi is how that is.
	drives bool
	csi    csi.Status

	network state.Report[network.Status]
	storage state.Report[storage.Status]
	etcd    state.Report[etcd.Status]
	kube    state.Report[kube.Status]

	extensionServices state.Report[extservice.Status]
	// services are nil until the API server told of them once.
	services *service.Table

	// desired follows from all above; generation grows with each change of it.
	desired    plan.Desired
	generation uint64
	mode       maintenance.Mode
	// networkFrom is the generation that the network's specification is from.
	networkFrom uint64
	checks      []server.Check
}

// profile is the one that is wanted; without a configuration nothing is known against the standard one.
func (s snapshot) profile() config.Profile {
	if s.input.Config == nil {
		return config.ProfileStandard
	}
	return cmp.Or(s.input.Config.Machine.Profile, config.ProfileStandard)
}

// isConfined is set when the walls of the wanted profile stand.
func (s snapshot) isConfined() bool { return s.confined == s.profile() }

// planned returns s with the desired state and the health that follow from the rest.
func (s snapshot) planned(now time.Time) snapshot {
	desired := plan.Build(s.input, plan.Facts{
		Network: s.network.Status, Storage: s.storage.Status, Etcd: s.etcd.Status, Identity: s.identity, Confined: s.isConfined(),
		Services: s.services, Extensions: s.extensionSpec(), Pooled: s.pooled, PoolsSeen: s.poolsSeen, CacheBytes: s.cache.reserved,
	})
	if !reflect.DeepEqual(desired, s.desired) {
		s.generation++
		if desired.Differs(s.desired, plan.Network) {
			s.networkFrom = s.generation
		}
		s.desired = desired
	}
	s.mode = maintenance.Decide(maintenance.Facts{Configured: s.input.Config != nil, Without: s.without, Owner: s.owner})
	s.checks = dated(s.checks, withHeld(health(s), s.held), now)
	s.haveHeld = withHolding(s.haveHeld, gates(s))
	return s
}

// update changes the snapshot and wakes the loops that are to reach something else now. The others learn of a new generation with their next
// pass: services come and go often, and nobody else has anything to do then.
func (a *Agent) update(change func(*snapshot)) {
	var before, after snapshot
	a.store.Update(func(s snapshot) snapshot {
		before = s
		change(&s)
		after = s.yielded().planned(a.now())
		a.tellHealth(before.checks, after.checks)
		return after
	})
	a.wakeForPools(before, after)
	if !before.network.Status.Ready && after.network.Status.Ready && after.storage.Status.StateAwaits != "" {
		a.wakers[plan.Storage].Wake() // what the volume waits for may be reached now
	}
	if mounted(after, storage.State) && !mounted(before, storage.State) {
		a.configs.changed.Wake() // its task opens the store
	}
	if before.generation == after.generation {
		return
	}
	for domain, w := range a.wakers {
		if before.desired.Differs(after.desired, domain) {
			w.Wake()
		}
	}
}

func (a *Agent) snapshot() snapshot {
	s, _ := a.store.Get()
	return s
}
