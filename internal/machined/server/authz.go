package server

import (
	"slices"
	"strings"

	auditv1 "github.com/cyvive/cyvive/api/proto/audit/v1"
	configv1 "github.com/cyvive/cyvive/api/proto/config/v1"
	containerv1 "github.com/cyvive/cyvive/api/proto/container/v1"
	datasetv1 "github.com/cyvive/cyvive/api/proto/dataset/v1"
	diskv1 "github.com/cyvive/cyvive/api/proto/disk/v1"
	eventv1 "github.com/cyvive/cyvive/api/proto/event/v1"
	extensionv1 "github.com/cyvive/cyvive/api/proto/extension/v1"
	filev1 "github.com/cyvive/cyvive/api/proto/file/v1"
	installv1 "github.com/cyvive/cyvive/api/proto/install/v1"
	inventoryv1 "github.com/cyvive/cyvive/api/proto/inventory/v1"
	kernelv1 "github.com/cyvive/cyvive/api/proto/kernel/v1"
	kubev1 "github.com/cyvive/cyvive/api/proto/kube/v1"
	machinev1 "github.com/cyvive/cyvive/api/proto/machine/v1"
	poolv1 "github.com/cyvive/cyvive/api/proto/pool/v1"
	replicationv1 "github.com/cyvive/cyvive/api/proto/replication/v1"
	resetv1 "github.com/cyvive/cyvive/api/proto/reset/v1"
	servicev1 "github.com/cyvive/cyvive/api/proto/service/v1"
	snapshotv1 "github.com/cyvive/cyvive/api/proto/snapshot/v1"
	upgradev1 "github.com/cyvive/cyvive/api/proto/upgrade/v1"
)

// ClientRole is a role of the node API, carried as an organisation in a client
// certificate's subject.
type ClientRole string

// The roles. A certificate may carry several; what they allow adds up.
const (
	// RoleAdmin may call everything.
	RoleAdmin ClientRole = "node:admin"
	// RoleOperator reads processes, files and the audit log besides what a reader does.
	// It turns nodes off and on, stops and starts services, and drains a node.
	RoleOperator ClientRole = "node:operator"
	// RoleReader reads what holds no secret.
	RoleReader ClientRole = "node:reader"
	// RoleBackup is for snapshots of etcd. There is no call for them yet, so it sees what
	// the node is and no more.
	RoleBackup ClientRole = "etcd:backup"
)

// RolePeer is what nodes carry themselves, in the certificates of their APIs. It allows nothing but to ask what a job of this node's
// configuration has the peer ask.
const RolePeer ClientRole = "node:peer"

// roles returns every role of clients that there is.
func roles() []ClientRole {
	return []ClientRole{RoleAdmin, RoleOperator, RoleReader, RoleBackup}
}

// rule says who may call one method.
type rule struct {
	roles []ClientRole
	// maintenance is who may while the node has no configuration.
	maintenance access
	// peer: it is for the node that a job of the configuration names, whoever vouches for it.
	peer bool
	// acts: it does something to the node, so the audit log has it before it
	// is done.
	acts bool
}

// access is who may call a method while the node has no configuration. Every rule
// says so itself; the zero value is no answer, and a test looks for it.
type access int

const (
	forNobody access = iota + 1
	// forOwner: the owner, if there is one.
	forOwner
	// forAnyone: the owner, and anybody on a node that has none. It changes nothing.
	forAnyone
)

// rules returns the authorisation table: full method name to rule, and the path
// of what is served over HTTP. What is not in it is refused to everyone.
func rules() map[string]rule {
	admins := []ClientRole{RoleAdmin}
	operators := []ClientRole{RoleAdmin, RoleOperator}
	readers := []ClientRole{RoleAdmin, RoleOperator, RoleReader}
	// What goes on all the time between nodes is in the audit log, and is no event.
	peers := rule{roles: []ClientRole{RolePeer}, maintenance: forNobody, peer: true}
	peersAct := peers
	peersAct.acts = true
	return map[string]rule{
		machinev1.MachineService_GetIdentity_FullMethodName: {roles: roles(), maintenance: forAnyone},
		machinev1.MachineService_GetVersion_FullMethodName:  {roles: roles(), maintenance: forAnyone},
		machinev1.MachineService_GetHealth_FullMethodName:   {roles: readers, maintenance: forOwner},
		machinev1.MachineService_WatchHealth_FullMethodName: {roles: readers, maintenance: forOwner},
		machinev1.MachineService_GetNode_FullMethodName:     {roles: readers, maintenance: forOwner},
		machinev1.MachineService_WatchNode_FullMethodName:   {roles: readers, maintenance: forOwner},
		machinev1.MachineService_GetSBOM_FullMethodName:     {roles: readers, maintenance: forNobody},
		machinev1.MachineService_Reboot_FullMethodName:      {roles: operators, maintenance: forOwner, acts: true},
		machinev1.MachineService_Shutdown_FullMethodName:    {roles: operators, maintenance: forOwner, acts: true},
		machinev1.MachineService_StreamDmesg_FullMethodName: {roles: readers, maintenance: forOwner},
		machinev1.MachineService_ListBoots_FullMethodName:   {roles: readers, maintenance: forNobody},

		machinev1.MachineService_ListCrashes_FullMethodName:    {roles: readers, maintenance: forNobody},
		machinev1.MachineService_StreamCrashLog_FullMethodName: {roles: readers, maintenance: forNobody},

		inventoryv1.InventoryService_GetInventory_FullMethodName: {roles: readers, maintenance: forAnyone},

		servicev1.ServiceService_ListServices_FullMethodName:   {roles: readers, maintenance: forNobody},
		servicev1.ServiceService_WatchServices_FullMethodName:  {roles: readers, maintenance: forNobody},
		servicev1.ServiceService_StreamLogs_FullMethodName:     {roles: readers, maintenance: forNobody},
		servicev1.ServiceService_StartService_FullMethodName:   {roles: operators, maintenance: forNobody, acts: true},
		servicev1.ServiceService_StopService_FullMethodName:    {roles: operators, maintenance: forNobody, acts: true},
		servicev1.ServiceService_RestartService_FullMethodName: {roles: operators, maintenance: forNobody, acts: true},

		containerv1.ContainerService_ListContainers_FullMethodName:  {roles: readers, maintenance: forNobody},
		containerv1.ContainerService_WatchContainers_FullMethodName: {roles: readers, maintenance: forNobody},

		// Arguments of programs may hold secrets.
		kernelv1.KernelService_ListProcesses_FullMethodName:  {roles: operators, maintenance: forNobody},
		kernelv1.KernelService_WatchProcesses_FullMethodName: {roles: operators, maintenance: forNobody},
		kernelv1.KernelService_ListMounts_FullMethodName:     {roles: readers, maintenance: forNobody},
		kernelv1.KernelService_WatchMounts_FullMethodName:    {roles: readers, maintenance: forNobody},
		kernelv1.KernelService_ListCgroups_FullMethodName:    {roles: readers, maintenance: forNobody},
		kernelv1.KernelService_WatchCgroups_FullMethodName:   {roles: readers, maintenance: forNobody},
		kernelv1.KernelService_GetStats_FullMethodName:       {roles: readers, maintenance: forNobody},
		kernelv1.KernelService_WatchStats_FullMethodName:     {roles: readers, maintenance: forNobody},

		eventv1.EventService_StreamEvents_FullMethodName: {roles: readers, maintenance: forNobody},

		filev1.FileService_ListFiles_FullMethodName: {roles: operators, maintenance: forNobody},
		filev1.FileService_ReadFile_FullMethodName:  {roles: operators, maintenance: forNobody},

		MetricsPath: {roles: readers, maintenance: forNobody},

		kubev1.KubeService_GetKubeconfig_FullMethodName: {roles: admins, maintenance: forNobody, acts: true},
		kubev1.KubeService_Drain_FullMethodName:         {roles: operators, maintenance: forNobody, acts: true},
		kubev1.KubeService_Uncordon_FullMethodName:      {roles: operators, maintenance: forNobody, acts: true},

		upgradev1.UpgradeService_Push_FullMethodName:     {roles: admins, maintenance: forNobody, acts: true},
		upgradev1.UpgradeService_Pull_FullMethodName:     {roles: admins, maintenance: forNobody, acts: true},
		upgradev1.UpgradeService_Install_FullMethodName:  {roles: admins, maintenance: forNobody, acts: true},
		upgradev1.UpgradeService_Rollback_FullMethodName: {roles: admins, maintenance: forNobody, acts: true},
		upgradev1.UpgradeService_Cancel_FullMethodName:   {roles: admins, maintenance: forNobody, acts: true},
		upgradev1.UpgradeService_Status_FullMethodName:   {roles: readers, maintenance: forNobody},
		upgradev1.UpgradeService_Watch_FullMethodName:    {roles: readers, maintenance: forNobody},

		installv1.InstallService_Plan_FullMethodName:    {roles: admins, maintenance: forOwner},
		installv1.InstallService_Install_FullMethodName: {roles: admins, maintenance: forOwner, acts: true},

		resetv1.ResetService_Reset_FullMethodName: {roles: admins, maintenance: forNobody, acts: true},

		// No document that comes out of these holds a secret.
		configv1.ConfigService_Get_FullMethodName:      {roles: readers, maintenance: forNobody},
		configv1.ConfigService_Validate_FullMethodName: {roles: readers, maintenance: forOwner},
		configv1.ConfigService_History_FullMethodName:  {roles: readers, maintenance: forNobody},
		configv1.ConfigService_Diff_FullMethodName:     {roles: readers, maintenance: forNobody},
		configv1.ConfigService_Apply_FullMethodName:    {roles: admins, maintenance: forOwner, acts: true},
		configv1.ConfigService_Confirm_FullMethodName:  {roles: admins, maintenance: forNobody, acts: true},
		configv1.ConfigService_Rollback_FullMethodName: {roles: admins, maintenance: forNobody, acts: true},

		diskv1.DiskService_ListVolumes_FullMethodName:       {roles: readers, maintenance: forOwner},
		diskv1.DiskService_GetRecoveryKey_FullMethodName:    {roles: admins, maintenance: forNobody, acts: true},
		diskv1.DiskService_ForgetRecoveryKey_FullMethodName: {roles: admins, maintenance: forNobody, acts: true},
		// Who cannot open the disk may have no configuration but the one on it.
		diskv1.DiskService_Recover_FullMethodName:    {roles: admins, maintenance: forOwner, acts: true},
		diskv1.DiskService_Reseal_FullMethodName:     {roles: admins, maintenance: forNobody, acts: true},
		diskv1.DiskService_RotateKeys_FullMethodName: {roles: admins, maintenance: forNobody, acts: true},

		extensionv1.ExtensionService_Push_FullMethodName:    {roles: admins, maintenance: forNobody, acts: true},
		extensionv1.ExtensionService_List_FullMethodName:    {roles: readers, maintenance: forNobody},
		extensionv1.ExtensionService_Remove_FullMethodName:  {roles: admins, maintenance: forNobody, acts: true},
		extensionv1.ExtensionService_GetSBOM_FullMethodName: {roles: readers, maintenance: forNobody},

		poolv1.PoolService_List_FullMethodName:           {roles: readers, maintenance: forNobody},
		poolv1.PoolService_ListImportable_FullMethodName: {roles: readers, maintenance: forNobody},
		poolv1.PoolService_Plan_FullMethodName:           {roles: readers, maintenance: forNobody},
		poolv1.PoolService_GetCache_FullMethodName:       {roles: readers, maintenance: forNobody},
		poolv1.PoolService_StreamEvents_FullMethodName:   {roles: readers, maintenance: forNobody},
		poolv1.PoolService_Scrub_FullMethodName:          {roles: operators, maintenance: forNobody, acts: true},
		poolv1.PoolService_Trim_FullMethodName:           {roles: operators, maintenance: forNobody, acts: true},
		poolv1.PoolService_Online_FullMethodName:         {roles: operators, maintenance: forNobody, acts: true},
		poolv1.PoolService_Clear_FullMethodName:          {roles: operators, maintenance: forNobody, acts: true},
		// These can cost data, or bring it nearer to that.
		poolv1.PoolService_Confirm_FullMethodName: {roles: admins, maintenance: forNobody, acts: true},
		poolv1.PoolService_Offline_FullMethodName: {roles: admins, maintenance: forNobody, acts: true},

		datasetv1.DatasetService_List_FullMethodName:        {roles: readers, maintenance: forNobody},
		datasetv1.DatasetService_Get_FullMethodName:         {roles: readers, maintenance: forNobody},
		datasetv1.DatasetService_PlanDestroy_FullMethodName: {roles: readers, maintenance: forNobody},
		datasetv1.DatasetService_Promote_FullMethodName:     {roles: operators, maintenance: forNobody, acts: true},
		datasetv1.DatasetService_Destroy_FullMethodName:     {roles: admins, maintenance: forNobody, acts: true},

		snapshotv1.SnapshotService_List_FullMethodName:         {roles: readers, maintenance: forNobody},
		snapshotv1.SnapshotService_PlanRollback_FullMethodName: {roles: readers, maintenance: forNobody},
		snapshotv1.SnapshotService_PreviewPrune_FullMethodName: {roles: readers, maintenance: forNobody},
		snapshotv1.SnapshotService_Create_FullMethodName:       {roles: operators, maintenance: forNobody, acts: true},
		snapshotv1.SnapshotService_Clone_FullMethodName:        {roles: operators, maintenance: forNobody, acts: true},
		snapshotv1.SnapshotService_Bookmark_FullMethodName:     {roles: operators, maintenance: forNobody, acts: true},
		snapshotv1.SnapshotService_Diff_FullMethodName:         {roles: operators, maintenance: forNobody}, // it names files
		snapshotv1.SnapshotService_Hold_FullMethodName:         {roles: operators, maintenance: forNobody, acts: true},
		snapshotv1.SnapshotService_Release_FullMethodName:      {roles: admins, maintenance: forNobody, acts: true},
		snapshotv1.SnapshotService_Destroy_FullMethodName:      {roles: admins, maintenance: forNobody, acts: true},
		snapshotv1.SnapshotService_Rollback_FullMethodName:     {roles: admins, maintenance: forNobody, acts: true},

		replicationv1.ReplicationService_List_FullMethodName:         {roles: readers, maintenance: forNobody},
		replicationv1.ReplicationService_Watch_FullMethodName:        {roles: readers, maintenance: forNobody},
		replicationv1.ReplicationService_Plan_FullMethodName:         {roles: readers, maintenance: forNobody},
		replicationv1.ReplicationService_PlanFailover_FullMethodName: {roles: readers, maintenance: forNobody},
		replicationv1.ReplicationService_Run_FullMethodName:          {roles: operators, maintenance: forNobody, acts: true},
		replicationv1.ReplicationService_Verify_FullMethodName:       {roles: operators, maintenance: forNobody, acts: true},
		// These say where the data is written to.
		replicationv1.ReplicationService_Failover_FullMethodName: {roles: admins, maintenance: forNobody, acts: true},
		replicationv1.ReplicationService_Failback_FullMethodName: {roles: admins, maintenance: forNobody, acts: true},

		replicationv1.PeerService_Look_FullMethodName:            peers,
		replicationv1.PeerService_Clean_FullMethodName:           peers,
		replicationv1.PeerService_Checksum_FullMethodName:        peers,
		replicationv1.PeerService_Estimate_FullMethodName:        peers,
		replicationv1.PeerService_Protect_FullMethodName:         peers,
		replicationv1.PeerService_Send_FullMethodName:            peers,
		replicationv1.PeerService_Advance_FullMethodName:         peers,
		replicationv1.PeerService_MakePlaceholder_FullMethodName: peers,
		replicationv1.PeerService_Receive_FullMethodName:         peers,
		replicationv1.PeerService_Abort_FullMethodName:           peers,
		replicationv1.PeerService_Complete_FullMethodName:        peers,
		replicationv1.PeerService_Learn_FullMethodName:           peersAct,
		replicationv1.PeerService_Freeze_FullMethodName:          peersAct,
		replicationv1.PeerService_Resolve_FullMethodName:         peersAct,

		auditv1.AuditService_StreamEntries_FullMethodName: {roles: operators, maintenance: forNobody},
	}
}

// allows reports whether one of have is enough.
func (r rule) allows(have []ClientRole) bool {
	return slices.ContainsFunc(have, func(role ClientRole) bool { return slices.Contains(r.roles, role) })
}

// join lists roles for a message to a person.
func join(rs []ClientRole) string {
	names := make([]string, len(rs))
	for i, r := range rs {
		names[i] = string(r)
	}
	return strings.Join(names, ", ")
}
