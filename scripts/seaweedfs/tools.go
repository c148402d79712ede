//go:build tools

// Package seaweedfs pins the SeaweedFS that the store matrix is measured with.
package seaweedfs

import (
	_ "github.com/seaweedfs/seaweedfs/weed"
)
