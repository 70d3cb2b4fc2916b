package config

import (
	"slices"
	"strings"
)

// covers reports whether every request that later matches is matched by r.
func (r Route) covers(later Route) bool {
	return r.coversHost(later) && r.coversPath(later) && r.coversMethods(later)
}

func (r Route) coversHost(later Route) bool {
	host, narrower := strings.ToLower(r.Host), strings.ToLower(later.Host)
	if host == "" || host == narrower {
		return true
	}
	domain, wildcard := strings.CutPrefix(host, "*")
	// "*.a.example" lies under "*.example" as "a.example" does; only "*.example" itself was compared above.
	return wildcard && strings.HasSuffix(strings.TrimPrefix(narrower, "*."), domain)
}

func (r Route) coversPath(later Route) bool {
	switch {
	case r.Path != "":
		return later.Path == r.Path
	case r.Prefix != "":
		return r.Prefix == "/" || strings.HasPrefix(later.Path, r.Prefix) || strings.HasPrefix(later.Prefix, r.Prefix)
	case r.Suffix != "":
		return strings.HasSuffix(later.Path, r.Suffix) || strings.HasSuffix(later.Suffix, r.Suffix)
	default:
		return true
	}
}

func (r Route) coversMethods(later Route) bool {
	if len(r.Methods) == 0 {
		return true
	}
	for _, method := range later.Methods {
		if !slices.Contains(r.Methods, method) && (method != "HEAD" || !slices.Contains(r.Methods, "GET")) {
			return false
		}
	}
	return len(later.Methods) > 0
}
