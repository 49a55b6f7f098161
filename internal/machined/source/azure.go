package source

import (
	"bytes"
	"context"
	"encoding/base64"
)

// azure is Microsoft Azure.
//
// Facts, from Microsoft's "Azure Instance Metadata Service" (userData as text from api-version 2021-01-01 on; Metadata: true and no
// X-Forwarded-For, else 400; no proxies; five requests a second, else 429; 410 and 500 pass; a value that is missing is empty, or 404; requests
// come from the primary address of the primary interface, which has DHCP), "User data for Azure Virtual Machine" (64 KB; base64 as it was
// handed in), and cloud-init's ds-identify (the chassis' asset tag, which tells Azure from Hyper-V elsewhere).
//
// It is userData and not customData: that one is not given out by the service, but lies in an XML file on a provisioning CD of UDF, which is for
// the first boot only, while userData stays, and can be replaced without a new machine.
func azure() platform {
	return platform{
		name: "azure", title: "Azure",
		is:    func(f Facts) bool { return f.ChassisTag == "7783-7084-3265-9085-8269-3286-77" },
		bases: []string{linkLocal},
		fetch: fetchAzure,
	}
}

func fetchAzure(ctx context.Context, c *client, base string) (found, error) {
	got, err := get(ctx, c, base+"/metadata/instance/compute/userData?api-version=2021-01-01&format=text", map[string]string{"Metadata": "true"})
	if err != nil || got.data == nil {
		return found{}, err
	}
	raw, err := base64.StdEncoding.DecodeString(string(bytes.TrimSpace(got.data)))
	if err != nil {
		return found{}, &trouble{reason: got.at + ": the user data is not base64, as which the service gives it out"}
	}
	if len(bytes.TrimSpace(raw)) == 0 {
		return found{}, nil
	}
	return found{got.at, raw}, nil
}
