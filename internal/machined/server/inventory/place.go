package inventory

import (
	"regexp"
	"strings"
)

// What the kernel numbers by itself, in the order in which it finds things, is another
// number after the next boot.
var (
	// ofKernel are whole parts of a place that tell nothing else.
	ofKernel = regexp.MustCompile(`^(host\d+|target\d+:.*|virtio\d+|nvme|nvme\d+|mmc_host|mmc\d+|session\d+)$`)
	// afterNumber are parts that begin with such a number, with what stays of them: a
	// unit of SCSI, a port of USB, parts of SAS, and the root of USB, which has
	// nothing more.
	afterNumber = []struct {
		form *regexp.Regexp
		stay string
	}{
		{regexp.MustCompile(`^\d+:(\d+:\d+:\d+)$`), "$1"},
		{regexp.MustCompile(`^\d+-(\d+(?:\.\d+)*(?::\d+\.\d+)?)$`), "$1"},
		{regexp.MustCompile(`^(port|end_device|expander|phy)-\d+:(.+)$`), "$1-$2"},
		{regexp.MustCompile(`^usb\d+$`), "usb"},
	}
	ataPort = regexp.MustCompile(`^ata\d+$`)
)

// stablePlace is a place without the numbers that change. PortOf returns the number of
// an ATA port on its controller, empty where it is not known.
func stablePlace(place string, portOf func(ata string) string) string {
	if strings.HasPrefix(place, "virtual/") {
		return place
	}
	var out []string
	for part := range strings.SplitSeq(place, "/") {
		if ofKernel.MatchString(part) {
			continue
		}
		if ataPort.MatchString(part) {
			if port := portOf(part); port != "" {
				part = "ata-port" + port
			}
		}
		for _, f := range afterNumber {
			if f.form.MatchString(part) {
				part = f.form.ReplaceAllString(part, f.stay)
				break
			}
		}
		out = append(out, part)
	}
	return strings.Join(out, "/")
}
