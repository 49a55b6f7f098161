package main

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	inventoryv1 "github.com/cyvive/cyvive/api/proto/inventory/v1"
)

func (a *app) inventoryCommand() *cobra.Command {
	var pci, noHealth bool
	c := &cobra.Command{
		Use:     "inventory",
		Aliases: []string{"hardware"},
		Short:   "Show what machines are made of, and what their disks say of themselves",
		Long: "Show what machines are made of: board, firmware, processors, memory, disks, network cards and TPM. Disks are asked for their health, at most " +
			"twice a minute each; --no-disk-health leaves that out. The table leaves out what only programs need; -o json and -o yaml have all of it.",
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return unary(cmd.Context(), a, getInventory(noHealth), columns[*inventoryv1.GetInventoryResponse]{
				[]string{"PART", "NAME", "DESCRIPTION", "STATE"},
				func(r *inventoryv1.GetInventoryResponse) [][]string { return inventoryRows(r.GetInventory(), pci) },
			}, nil)
		},
	}
	c.Flags().BoolVar(&a.insecure, "insecure", false, insecureUsage)
	c.Flags().BoolVar(&pci, "pci", false, "list PCI devices in the table, too")
	c.Flags().BoolVar(&noHealth, "no-disk-health", false, "do not ask the disks")
	return c
}

func getInventory(withoutHealth bool) func(context.Context, *connection) (*inventoryv1.GetInventoryResponse, error) {
	return func(ctx context.Context, conn *connection) (*inventoryv1.GetInventoryResponse, error) {
		return inventoryv1.NewInventoryServiceClient(conn).GetInventory(ctx, &inventoryv1.GetInventoryRequest{WithoutDiskHealth: withoutHealth})
	}
}

// words joins what is not empty.
func words(separator string, all ...string) string {
	var out []string
	for _, w := range all {
		if w != "" {
			out = append(out, w)
		}
	}
	return strings.Join(out, separator)
}

// with is a text behind its name, or empty.
func with(name, text string) string {
	if text == "" {
		return ""
	}
	return name + " " + text
}

func inventoryRows(all *inventoryv1.Inventory, pci bool) [][]string {
	rows := systemRows(all)
	for _, p := range all.GetProcessors() {
		rows = append(rows, []string{"cpu", fmt.Sprintf("socket %d", p.GetSocket()), words(", ", words(" ", p.GetVendor(), p.GetModel(), with("id", p.GetIdentity())),
			fmt.Sprintf("%d cores, %d threads", p.GetCores(), p.GetThreads()), with("microcode", p.GetMicrocode())), vulnerable(p)})
	}
	rows = append(rows, memoryRows(all.GetMemory())...)
	for _, d := range all.GetDisks() {
		rows = append(rows, diskRow(d))
	}
	for _, n := range all.GetInterfaces() {
		rows = append(rows, interfaceRow(n))
	}
	if t := all.GetTpm(); t != nil {
		rows = append(rows, []string{"tpm", fmt.Sprintf("TPM %d", t.GetMajorVersion()),
			words(", ", words(" ", t.GetManufacturer(), t.GetModel()), with("firmware", t.GetFirmware()), with("banks", strings.Join(t.GetPcrBanks(), " "))), ""})
	}
	for _, d := range all.GetPciDevices() {
		if pci {
			rows = append(rows, []string{"pci", d.GetAddress(), words(", ", "class "+d.GetClass(), d.GetVendor()+":"+d.GetDevice(), with("driver", d.GetDriver())), ""})
		}
	}
	for _, p := range all.GetProblems() {
		rows = append(rows, []string{"problem", "", p, ""})
	}
	return rows
}

func systemRows(all *inventoryv1.Inventory) [][]string {
	s, f := all.GetSystem(), all.GetFirmware()
	kind := ""
	if s.GetVirtual() {
		kind = "virtual"
	}
	firmware, state := "BIOS", words(", ", toggle("secure boot", f.GetSecureBoot()), toggle("setup mode", f.GetSetupMode()), with("lockdown", f.GetKernelLockdown()))
	if f.GetUefi() {
		firmware = "UEFI"
	} else if f.GetVendor() == "" {
		firmware = ""
	}
	rows := [][]string{
		{"system", words(" ", s.GetVendor(), s.GetProduct()), words(", ", with("version", s.GetVersion()), with("serial", s.GetSerial()), with("uuid", s.GetUuid())), kind},
		{"board", words(" ", s.GetBoardVendor(), s.GetBoardProduct()), words(", ", with("version", s.GetBoardVersion()), with("serial", s.GetBoardSerial())), ""},
		{"firmware", firmware, words(", ", words(" ", f.GetVendor(), f.GetVersion()), with("of", f.GetDate())), state},
	} // A hypervisor has no board to tell of.
	return slices.DeleteFunc(rows, func(row []string) bool { return row[1] == "" && row[2] == "" })
}

func toggle(name string, t inventoryv1.Toggle) string {
	switch t {
	case inventoryv1.Toggle_TOGGLE_ON:
		return name + " on"
	case inventoryv1.Toggle_TOGGLE_OFF:
		return name + " off"
	default:
		return ""
	}
}

// vulnerable names the faults that the kernel does nothing about.
func vulnerable(p *inventoryv1.Processor) string {
	var names []string
	for _, v := range p.GetVulnerabilities() {
		if strings.HasPrefix(v.GetState(), "Vulnerable") {
			names = append(names, v.GetName())
		}
	}
	return with("vulnerable:", strings.Join(names, " "))
}

func memoryRows(m *inventoryv1.Memory) [][]string {
	slots := ""
	if m.GetSlots() > 0 {
		slots = fmt.Sprintf("%d of %d slots", len(m.GetModules()), m.GetSlots())
	}
	rows := [][]string{{"memory", bytesText(m.GetTotalBytes()), words(", ", slots, with("error correction", m.GetErrorCorrection())), ""}}
	for _, d := range m.GetModules() {
		speed := ""
		if d.GetConfiguredSpeedMts() > 0 {
			speed = fmt.Sprintf("%d MT/s", d.GetConfiguredSpeedMts())
		}
		rows = append(rows, []string{"module", d.GetLocator(), words(", ", bytesText(d.GetSizeBytes()), words(" ", d.GetType(), d.GetFormFactor()), speed,
			words(" ", d.GetManufacturer(), d.GetPartNumber()), with("serial", d.GetSerial())), ""})
	}
	return rows
}

func diskRow(d *inventoryv1.Disk) []string {
	kind := "solid state"
	if d.GetRotational() {
		kind = "rotational"
	}
	bus := enumName(d.GetBus().String(), "DISK_BUS_")
	return []string{"disk", d.GetName(), words(", ", bytesText(d.GetSizeBytes()), words(" ", d.GetVendor(), d.GetModel()), words(" ", bus, d.GetTransport()), kind,
		with("serial", d.GetSerial()), with("wwn", d.GetWwn()), with("firmware", d.GetFirmware()), with("at", d.GetPath())), healthText(d.GetHealth())}
}

// healthText is a disk's health on one line.
func healthText(h *inventoryv1.DiskHealth) string {
	if h == nil {
		return ""
	}
	if h.GetUnavailable() != "" {
		return "unknown: " + h.GetUnavailable()
	}
	text := enumName(h.GetVerdict().String(), "DISK_VERDICT_")
	if len(h.GetWarnings()) > 0 {
		text += ": " + strings.Join(h.GetWarnings(), "; ")
	}
	var more []string
	if h.UsedPercent != nil {
		more = append(more, fmt.Sprintf("%d%% used", h.GetUsedPercent()))
	}
	if h.TemperatureCelsius != nil {
		more = append(more, fmt.Sprintf("%d °C", h.GetTemperatureCelsius()))
	}
	if h.PowerOn != nil {
		more = append(more, fmt.Sprintf("%.0f h", h.GetPowerOn().AsDuration().Hours()))
	}
	return words(", ", append([]string{text}, more...)...)
}

func interfaceRow(n *inventoryv1.NetworkInterface) []string {
	speed, state := "", "down"
	if n.GetSpeedMbps() > 0 {
		speed = fmt.Sprintf("%d Mbit/s", n.GetSpeedMbps())
	}
	if n.Carrier != nil {
		state = map[bool]string{true: "carrier", false: "no carrier"}[n.GetCarrier()]
	}
	return []string{"network", n.GetName(), words(", ", n.GetMacAddress(), speed, with("driver", n.GetDriver()), with("firmware", n.GetFirmware()),
		with("at", n.GetPciAddress())), state}
}
