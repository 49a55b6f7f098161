package server_test

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cyvive/cyvive/internal/machined/server"
)

// registered walks the methods that the gRPC server answers.
func registered() map[string]bool {
	methods := map[string]bool{}
	s := server.New(server.Config{Identity: func() server.Identity { return server.Identity{} }})
	for service, info := range s.ServiceInfo() {
		for _, m := range info.Methods {
			methods["/"+service+"/"+m.Name] = true
		}
	}
	return methods
}

func TestEveryMethodHasAnEntry(t *testing.T) {
	methods := registered()
	if len(methods) == 0 {
		t.Fatal("the server registers no method")
	}
	rules := server.Rules()
	for _, method := range slices.Sorted(maps.Keys(methods)) {
		if len(rules[method]) == 0 {
			t.Errorf("%s has no entry in the authorisation table: nobody can call it", method)
		}
		if a := server.InMaintenance()[method]; a != server.ForNobody && a != server.ForOwner && a != server.ForAnyone {
			t.Errorf("%s: the authorisation table does not say who may call it in maintenance mode", method)
		}
	}
	for _, method := range slices.Sorted(maps.Keys(rules)) {
		if !methods[method] && method != server.MetricsPath {
			t.Errorf("the authorisation table has an entry for %s, which is no method", method)
		}
	}
}

func TestTableIsAsPromised(t *testing.T) {
	admin, operator, reader, backup := server.RoleAdmin, server.RoleOperator, server.RoleReader, server.RoleBackup
	readers := []server.ClientRole{admin, operator, reader}
	operators := []server.ClientRole{admin, operator}
	peers := []server.ClientRole{server.RolePeer}
	want := map[string][]server.ClientRole{
		"/node.replication.v1.ReplicationService/List":         readers,
		"/node.replication.v1.ReplicationService/Watch":        readers,
		"/node.replication.v1.ReplicationService/Plan":         readers,
		"/node.replication.v1.ReplicationService/PlanFailover": readers,
		"/node.replication.v1.ReplicationService/Run":          operators,
		"/node.replication.v1.ReplicationService/Verify":       operators,
		"/node.replication.v1.ReplicationService/Failover":     {admin},
		"/node.replication.v1.ReplicationService/Failback":     {admin},
		"/node.replication.v1.PeerService/Look":                peers,
		"/node.replication.v1.PeerService/Learn":               peers,
		"/node.replication.v1.PeerService/Clean":               peers,
		"/node.replication.v1.PeerService/Checksum":            peers,
		"/node.replication.v1.PeerService/Estimate":            peers,
		"/node.replication.v1.PeerService/Protect":             peers,
		"/node.replication.v1.PeerService/Send":                peers,
		"/node.replication.v1.PeerService/Advance":             peers,
		"/node.replication.v1.PeerService/Freeze":              peers,
		"/node.replication.v1.PeerService/MakePlaceholder":     peers,
		"/node.replication.v1.PeerService/Receive":             peers,
		"/node.replication.v1.PeerService/Abort":               peers,
		"/node.replication.v1.PeerService/Complete":            peers,
		"/node.replication.v1.PeerService/Resolve":             peers,
		"/node.machine.v1.MachineService/WatchHealth":          readers,
		"/node.machine.v1.MachineService/WatchNode":            readers,
		"/node.machine.v1.MachineService/GetSBOM":              readers,
		"/node.service.v1.ServiceService/WatchServices":        readers,
		"/node.service.v1.ServiceService/StartService":         operators,
		"/node.service.v1.ServiceService/StopService":          operators,
		"/node.service.v1.ServiceService/RestartService":       operators,
		"/node.container.v1.ContainerService/WatchContainers":  readers,
		"/node.kernel.v1.KernelService/ListProcesses":          operators,
		"/node.kernel.v1.KernelService/WatchProcesses":         operators,
		"/node.kernel.v1.KernelService/ListMounts":             readers,
		"/node.kernel.v1.KernelService/WatchMounts":            readers,
		"/node.kernel.v1.KernelService/ListCgroups":            readers,
		"/node.kernel.v1.KernelService/WatchCgroups":           readers,
		"/node.kernel.v1.KernelService/GetStats":               readers,
		"/node.kernel.v1.KernelService/WatchStats":             readers,
		"/node.event.v1.EventService/StreamEvents":             readers,
		"/node.file.v1.FileService/ListFiles":                  operators,
		"/node.file.v1.FileService/ReadFile":                   operators,
		"/metrics":                                             readers,
		"/node.machine.v1.MachineService/GetIdentity":          {admin, operator, reader, backup},
		"/node.machine.v1.MachineService/GetVersion":           {admin, operator, reader, backup},
		"/node.machine.v1.MachineService/GetHealth":            readers,
		"/node.machine.v1.MachineService/GetNode":              readers,
		"/node.machine.v1.MachineService/Reboot":               {admin, operator},
		"/node.machine.v1.MachineService/Shutdown":             {admin, operator},
		"/node.machine.v1.MachineService/StreamDmesg":          readers,
		"/node.machine.v1.MachineService/ListBoots":            readers,
		"/node.machine.v1.MachineService/ListCrashes":          readers,
		"/node.machine.v1.MachineService/StreamCrashLog":       readers,
		"/node.inventory.v1.InventoryService/GetInventory":     readers,
		"/node.service.v1.ServiceService/ListServices":         readers,
		"/node.service.v1.ServiceService/StreamLogs":           readers,
		"/node.container.v1.ContainerService/ListContainers":   readers,
		"/node.kube.v1.KubeService/GetKubeconfig":              {admin},
		"/node.kube.v1.KubeService/Drain":                      operators,
		"/node.kube.v1.KubeService/Uncordon":                   operators,
		"/node.audit.v1.AuditService/StreamEntries":            {admin, operator},
		"/node.config.v1.ConfigService/Get":                    readers,
		"/node.config.v1.ConfigService/Validate":               readers,
		"/node.config.v1.ConfigService/History":                readers,
		"/node.config.v1.ConfigService/Diff":                   readers,
		"/node.config.v1.ConfigService/Apply":                  {admin},
		"/node.config.v1.ConfigService/Confirm":                {admin},
		"/node.config.v1.ConfigService/Rollback":               {admin},
		"/node.disk.v1.DiskService/ListVolumes":                readers,
		"/node.disk.v1.DiskService/GetRecoveryKey":             {admin},
		"/node.disk.v1.DiskService/ForgetRecoveryKey":          {admin},
		"/node.disk.v1.DiskService/Recover":                    {admin},
		"/node.disk.v1.DiskService/Reseal":                     {admin},
		"/node.install.v1.InstallService/Plan":                 {admin},
		"/node.install.v1.InstallService/Install":              {admin},
		"/node.reset.v1.ResetService/Reset":                    {admin},
		"/node.disk.v1.DiskService/RotateKeys":                 {admin},
		"/node.extension.v1.ExtensionService/Push":             {admin},
		"/node.extension.v1.ExtensionService/List":             readers,
		"/node.extension.v1.ExtensionService/Remove":           {admin},
		"/node.extension.v1.ExtensionService/GetSBOM":          readers,
		"/node.pool.v1.PoolService/List":                       readers,
		"/node.pool.v1.PoolService/ListImportable":             readers,
		"/node.pool.v1.PoolService/Plan":                       readers,
		"/node.pool.v1.PoolService/GetCache":                   readers,
		"/node.pool.v1.PoolService/StreamEvents":               readers,
		"/node.pool.v1.PoolService/Scrub":                      operators,
		"/node.pool.v1.PoolService/Trim":                       operators,
		"/node.pool.v1.PoolService/Online":                     operators,
		"/node.pool.v1.PoolService/Clear":                      operators,
		"/node.pool.v1.PoolService/Confirm":                    {admin},
		"/node.pool.v1.PoolService/Offline":                    {admin},
		"/node.dataset.v1.DatasetService/List":                 readers,
		"/node.dataset.v1.DatasetService/Get":                  readers,
		"/node.dataset.v1.DatasetService/PlanDestroy":          readers,
		"/node.dataset.v1.DatasetService/Promote":              operators,
		"/node.dataset.v1.DatasetService/Destroy":              {admin},
		"/node.snapshot.v1.SnapshotService/List":               readers,
		"/node.snapshot.v1.SnapshotService/PlanRollback":       readers,
		"/node.snapshot.v1.SnapshotService/PreviewPrune":       readers,
		"/node.snapshot.v1.SnapshotService/Create":             operators,
		"/node.snapshot.v1.SnapshotService/Clone":              operators,
		"/node.snapshot.v1.SnapshotService/Bookmark":           operators,
		"/node.snapshot.v1.SnapshotService/Diff":               operators,
		"/node.snapshot.v1.SnapshotService/Hold":               operators,
		"/node.snapshot.v1.SnapshotService/Release":            {admin},
		"/node.snapshot.v1.SnapshotService/Destroy":            {admin},
		"/node.snapshot.v1.SnapshotService/Rollback":           {admin},
		"/node.upgrade.v1.UpgradeService/Push":                 {admin},
		"/node.upgrade.v1.UpgradeService/Pull":                 {admin},
		"/node.upgrade.v1.UpgradeService/Install":              {admin},
		"/node.upgrade.v1.UpgradeService/Rollback":             {admin},
		"/node.upgrade.v1.UpgradeService/Cancel":               {admin},
		"/node.upgrade.v1.UpgradeService/Status":               readers,
		"/node.upgrade.v1.UpgradeService/Watch":                readers,
	}
	if diff := cmp.Diff(want, server.Rules()); diff != "" {
		t.Errorf("roles (-want +got):\n%s", diff)
	}
	// What is for nodes is for nobody else, and the other way round.
	for method, roles := range server.Rules() {
		if ofPeers := strings.HasPrefix(method, "/node.replication.v1.PeerService/"); ofPeers != slices.Contains(roles, server.RolePeer) || ofPeers != server.ForPeers()[method] {
			t.Errorf("%s: roles %v, by a job: %t", method, roles, server.ForPeers()[method])
		}
	}
	// Whatever is not here is for nobody.
	maintenance := map[string]any{
		"/node.machine.v1.MachineService/GetIdentity":      server.ForAnyone,
		"/node.machine.v1.MachineService/GetVersion":       server.ForAnyone,
		"/node.inventory.v1.InventoryService/GetInventory": server.ForAnyone,
		"/node.machine.v1.MachineService/GetHealth":        server.ForOwner,
		"/node.machine.v1.MachineService/WatchHealth":      server.ForOwner,
		"/node.machine.v1.MachineService/GetNode":          server.ForOwner,
		"/node.machine.v1.MachineService/WatchNode":        server.ForOwner,
		"/node.machine.v1.MachineService/StreamDmesg":      server.ForOwner,
		"/node.machine.v1.MachineService/Reboot":           server.ForOwner,
		"/node.machine.v1.MachineService/Shutdown":         server.ForOwner,
		"/node.config.v1.ConfigService/Validate":           server.ForOwner,
		"/node.config.v1.ConfigService/Apply":              server.ForOwner,
		"/node.install.v1.InstallService/Plan":             server.ForOwner,
		"/node.install.v1.InstallService/Install":          server.ForOwner,
		"/node.disk.v1.DiskService/ListVolumes":            server.ForOwner,
		"/node.disk.v1.DiskService/Recover":                server.ForOwner,
	}
	for method, access := range server.InMaintenance() {
		want := maintenance[method]
		if want == nil {
			want = server.ForNobody
		}
		if any(access) != want {
			t.Errorf("%s in maintenance mode: got %v, want %v", method, access, want)
		}
		delete(maintenance, method)
	}
	if len(maintenance) > 0 {
		t.Errorf("in maintenance mode there are methods that do not exist: %v", maintenance)
	}
}
