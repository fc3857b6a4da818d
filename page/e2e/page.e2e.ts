/** The page as its server serves it, and from another origin; in one file, so that all tests share one browser. */

import { required } from "./browser";
import { testPageAt } from "./elsewhere";
import "./masks";
import "./models";
import "./exports";

testPageAt(required("OTHER_ORIGIN"));
