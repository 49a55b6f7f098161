package server_test

import (
	"maps"
	"slices"
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
	want := map[string][]server.ClientRole{
		"/node.machine.v1.MachineService/WatchHealth":         readers,
		"/node.machine.v1.MachineService/WatchNode":           readers,
		"/node.machine.v1.MachineService/GetSBOM":             readers,
		"/node.service.v1.ServiceService/WatchServices":       readers,
		"/node.service.v1.ServiceService/StartService":        operators,
		"/node.service.v1.ServiceService/StopService":         operators,
		"/node.service.v1.ServiceService/RestartService":      operators,
		"/node.container.v1.ContainerService/WatchContainers": readers,
		"/node.kernel.v1.KernelService/ListProcesses":         operators,
		"/node.kernel.v1.KernelService/WatchProcesses":        operators,
		"/node.kernel.v1.KernelService/ListMounts":            readers,
		"/node.kernel.v1.KernelService/WatchMounts":           readers,
		"/node.kernel.v1.KernelService/ListCgroups":           readers,
		"/node.kernel.v1.KernelService/WatchCgroups":          readers,
		"/node.kernel.v1.KernelService/GetStats":              readers,
		"/node.kernel.v1.KernelService/WatchStats":            readers,
		"/node.event.v1.EventService/StreamEvents":            readers,
		"/node.file.v1.FileService/ListFiles":                 operators,
		"/node.file.v1.FileService/ReadFile":                  operators,
		"/metrics":                                            readers,
		"/node.machine.v1.MachineService/GetIdentity":         {admin, operator, reader, backup},
		"/node.machine.v1.MachineService/GetVersion":          {admin, operator, reader, backup},
		"/node.machine.v1.MachineService/GetHealth":           readers,
		"/node.machine.v1.MachineService/GetNode":             readers,
		"/node.machine.v1.MachineService/Reboot":              {admin, operator},
		"/node.machine.v1.MachineService/Shutdown":            {admin, operator},
		"/node.machine.v1.MachineService/StreamDmesg":         readers,
		"/node.machine.v1.MachineService/ListBoots":           readers,
		"/node.machine.v1.MachineService/ListCrashes":         readers,
		"/node.machine.v1.MachineService/StreamCrashLog":      readers,
		"/node.inventory.v1.InventoryService/GetInventory":    readers,
		"/node.service.v1.ServiceService/ListServices":        readers,
		"/node.service.v1.ServiceService/StreamLogs":          readers,
		"/node.container.v1.ContainerService/ListContainers":  readers,
		"/node.kube.v1.KubeService/GetKubeconfig":             {admin},
		"/node.kube.v1.KubeService/Drain":                     operators,
		"/node.kube.v1.KubeService/Uncordon":                  operators,
		"/node.audit.v1.AuditService/StreamEntries":           {admin, operator},
		"/node.config.v1.ConfigService/Get":                   readers,
		"/node.config.v1.ConfigService/Validate":              readers,
		"/node.config.v1.ConfigService/History":               readers,
		"/node.config.v1.ConfigService/Diff":                  readers,
		"/node.config.v1.ConfigService/Apply":                 {admin},
		"/node.config.v1.ConfigService/Confirm":               {admin},
		"/node.config.v1.ConfigService/Rollback":              {admin},
		"/node.disk.v1.DiskService/ListVolumes":               readers,
		"/node.disk.v1.DiskService/GetRecoveryKey":            {admin},
		"/node.disk.v1.DiskService/ForgetRecoveryKey":         {admin},
		"/node.disk.v1.DiskService/Recover":                   {admin},
		"/node.disk.v1.DiskService/Reseal":                    {admin},
		"/node.install.v1.InstallService/Plan":                {admin},
		"/node.install.v1.InstallService/Install":             {admin},
		"/node.reset.v1.ResetService/Reset":                   {admin},
		"/node.disk.v1.DiskService/RotateKeys":                {admin},
		"/node.extension.v1.ExtensionService/Push":            {admin},
		"/node.extension.v1.ExtensionService/List":            readers,
		"/node.extension.v1.ExtensionService/Remove":          {admin},
		"/node.extension.v1.ExtensionService/GetSBOM":         readers,
		"/node.upgrade.v1.UpgradeService/Push":                {admin},
		"/node.upgrade.v1.UpgradeService/Pull":                {admin},
		"/node.upgrade.v1.UpgradeService/Install":             {admin},
		"/node.upgrade.v1.UpgradeService/Rollback":            {admin},
		"/node.upgrade.v1.UpgradeService/Cancel":              {admin},
		"/node.upgrade.v1.UpgradeService/Status":              readers,
		"/node.upgrade.v1.UpgradeService/Watch":               readers,
	}
	if diff := cmp.Diff(want, server.Rules()); diff != "" {
		t.Errorf("roles (-want +got):\n%s", diff)
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
