package source

import (
	"context"
	"errors"
	"net/http"
	"strings"
)

// aws is Amazon EC2.
//
// Facts, from the Amazon EC2 User Guide: "Use the Instance Metadata Service to access instance metadata" (version 2: a PUT for a token that
// lives for up to 21600 seconds, which each GET must carry, else 401; the answer to the PUT has a hop limit of 1 unless the instance is
// configured otherwise, so that it does not arrive behind a router, such as a node is for its pods; a PUT with X-Forwarded-For is refused), "Access
// instance metadata for an EC2 instance" (403 for another path of the token; the address for IPv6, for Nitro instances where it is enabled),
// "Work with instance user data" (16 KB, given out as it was handed in, not decoded), "Detect whether a host is an EC2 instance" (the UUID),
// AWS Knowledge Center, "How do I troubleshoot instance metadata issues on my EC2 Linux instance?" (403: the service is turned off). That user
// data which was not given is 404 is what cloud-init's source for EC2 relies on. Version 1, which gives user data to who can make a machine send
// a GET, is not used.
func aws() platform {
	return platform{
		name: "aws", title: "AWS",
		is: func(f Facts) bool {
			// Instances on Xen say so, and are told by a UUID that is their serial number too (cloud-init, ds-identify).
			xen := strings.HasPrefix(strings.ToLower(f.UUID), "ec2") && strings.EqualFold(f.UUID, f.Serial)
			return f.Vendor == "Amazon EC2" || xen
		},
		bases: []string{linkLocal, "http://[fd00:ec2::254]"},
		fetch: fetchAWS,
	}
}

// tokenSeconds is how long a token lives: for one request.
const tokenSeconds = "60"

func fetchAWS(ctx context.Context, c *client, base string) (found, error) {
	a, err := c.ask(ctx, http.MethodPut, base+"/latest/api/token", map[string]string{"X-aws-ec2-metadata-token-ttl-seconds": tokenSeconds})
	var t *trouble
	if errors.As(err, &t) && t.status == http.StatusForbidden {
		t.reason += "; the instance's metadata service may be turned off (HttpEndpoint)"
	}
	if err != nil {
		return found{}, err
	}
	token := strings.TrimSpace(string(a.body))
	if token == "" || strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return found{}, &trouble{reason: base + "/latest/api/token: it gave no token, expected version 2 of the service"}
	}
	return get(ctx, c, base+"/latest/user-data", map[string]string{"X-aws-ec2-metadata-token": token})
}
