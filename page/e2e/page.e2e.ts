/** The page as its server serves it: in one file, so that all tests share one browser. */

import "./masks";
import "./models";
import "./exports";
