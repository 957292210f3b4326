package card

import "github.com/hc1-toolkit/hc1/hal/hci"

// featureState is section 18.
type featureState struct {
	events  uint32
	capMW   uint32
	warnAt  int32 // 0.1 °C
	crossed bool  // the threshold, upwards
}

// toDefault resets all features but the power cap.
func (f *featureState) toDefault() {
	f.events, f.warnAt, f.crossed = 0xFFFF_FFFF, tempWarn, false
}

type featureRange struct{ def, lo, hi uint32 }

func (c *Card) featureLimits(fid uint64) (featureRange, bool) {
	if fid == hci.FeatureIDPowerCap && !c.has(hci.FeaturePowerCap) {
		return featureRange{}, false
	}
	switch fid {
	case hci.FeatureIDQueues:
		return featureRange{numQueues, numQueues, numQueues}, true
	case hci.FeatureIDAsyncEvents:
		return featureRange{0xFFFF_FFFF, 0, 0xFFFF_FFFF}, true
	case hci.FeatureIDPowerCap:
		return featureRange{powerMaxMW, powerMinMW, powerMaxMW}, true
	case hci.FeatureIDTempThreshold:
		return featureRange{tempWarn, 0, tempCrit}, true
	}
	return featureRange{}, false
}

func (c *Card) getFeatures(cmd *command) result {
	fid := cmd.Get(hci.GetFeaturesFID)
	lim, ok := c.featureLimits(fid)
	if !ok {
		return badField(hci.SQEOffCDW10)
	}
	switch cmd.Get(hci.GetFeaturesSEL) {
	case 0:
		switch fid {
		case hci.FeatureIDAsyncEvents:
			return success(c.features.events, 0)
		case hci.FeatureIDPowerCap:
			return success(c.features.capMW, 0)
		case hci.FeatureIDTempThreshold:
			return success(uint32(c.features.warnAt), 0)
		}
		return success(lim.def, 0)
	case 1:
		return success(lim.def, 0)
	case 3:
		return success(lim.lo, lim.hi)
	}
	return badField(hci.SQEOffCDW10)
}

func (c *Card) setFeatures(cmd *command) result {
	fid, v := cmd.Get(hci.SetFeaturesFID), uint32(cmd.Get(hci.SetFeaturesValue))
	lim, ok := c.featureLimits(fid)
	if !ok || fid == hci.FeatureIDQueues {
		return badField(hci.SQEOffCDW10)
	}
	if v < lim.lo || v > lim.hi {
		return badField(hci.SQEOffCDW11)
	}
	switch fid {
	case hci.FeatureIDAsyncEvents:
		c.features.events = v
		c.reportEvents()
	case hci.FeatureIDPowerCap:
		if v != c.features.capMW {
			c.features.capMW = v
			c.power.govern(c)
			c.event(hci.EventPowerCap, uint64(v), 0)
		}
	case hci.FeatureIDTempThreshold:
		c.features.warnAt, c.features.crossed = int32(v), false
		c.power.govern(c)
	}
	return success(0, 0)
}
