import "./style.css";
import { showCard, showTimings } from "./about";
import { App } from "./app";
import { Downloads } from "./downloads";
import { Editor } from "./editor";

const app = new App();
const editor = new Editor(app);
const downloads = new Downloads(app, editor);
app.onClick = (pixel) => editor.select(pixel);
app.stage.onDraw = () => editor.draw();
app.onShow = () => {
  void editor.refresh();
  downloads.refresh();
  showTimings(app.resultA);
  showCard(app.descriptions.get(app.sideA.name));
};
void app.start();
