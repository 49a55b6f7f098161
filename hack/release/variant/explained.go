package variant

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"google.golang.org/protobuf/encoding/protojson"

	machinev1 "github.com/cyvive/cyvive/api/proto/machine/v1"
)

// Explained wants, of the boots since one, that the last is of the old version and that one of the bad version has the right reason. The newest is
// the first.
func (bad Bad) Explained(boots []*machinev1.Boot, before, old string) error {
	i := slices.IndexFunc(boots, func(boot *machinev1.Boot) bool { return boot.GetBootId() == before })
	if i < 0 {
		return fmt.Errorf("boot %s is not in the ledger any more", before)
	}
	if i == 0 {
		return errors.New("the boot before still runs")
	}
	if got := boots[0].GetVersion(); got != old {
		return fmt.Errorf("version %s runs", got)
	}
	var words []string
	for _, boot := range boots[:i] {
		if boot.GetVersion() == bad.Version && bad.Reason.MatchString(boot.GetReason()) {
			return nil
		}
		words = append(words, protojson.MarshalOptions{}.Format(boot))
	}
	return fmt.Errorf("no boot of version %s has the reason %q; there are\n%s", bad.Version, bad.Reason, strings.Join(words, "\n"))
}
